"""Each check of folders, on a warehouse of a few files."""

import hashlib
import json

import pytest

from dmix.etl.maintenance.folders import (
    catalog_problems,
    edited_manifests,
    ghost_problems,
    half_written,
    link_problems,
    model_problems,
    run_problems,
)
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import publish_bytes

ZERO = "0" * 64


def found(problems):
    return [(problem.kind, problem.path) for problem in problems]


@pytest.fixture
def corpus(make_corpus):
    return make_corpus("main", "source", [[("News", "a"), ("Games", "b")]])


def write_run(warehouse, chains, *, delivered=(1, 1)):
    log = EventLog(warehouse.run("r") / "events.jsonl", run_id="r", attempt=1)
    space = [["source", "a"], ["target", "a"]]
    log.write(
        "run_started", kind="guided", dataset="d", controller="natural", config={}, space=space,
        resumed_from_step=None,
    )  # fmt: skip
    for step, (digest, chain) in enumerate(chains, start=1):
        shares = {"asked_N": [0.5, 0.5], "planned_N": [0.5, 0.5], "reasons": {}}
        log.write("decision", step=step, planned_samples_N=[1, 1], **shares)
        log.write(
            "step_done", step=step, delivered_samples_N=list(delivered), delivered_tokens_N=[8, 8],
            passes_N=[0, 0], loss_sum_N=[1.0, 1.0], loss_tokens_N=[7, 7], loss=1.0, seconds=1.0,
            digest=digest, chain=chain,
        )  # fmt: skip


def linked(*digests):
    chains, previous = [], ZERO
    for digest in digests:
        previous = hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()
        chains.append((digest, previous))
    return chains


def test_a_manifest_that_was_edited_is_named(warehouse, corpus):
    path = warehouse.labels("main") / "v1.json"
    assert found(edited_manifests(warehouse, [corpus], [], whole=False)) == []
    path.write_text(json.dumps({**json.loads(path.read_text()), "synthetic": True}))
    assert found(edited_manifests(warehouse, [corpus], [], whole=False)) == [
        ("manifest", "labels/main/v1.json")
    ]


def test_a_chain_holds_where_each_link_is_the_hash_of_the_one_before(warehouse):
    write_run(warehouse, linked("ab" * 32, "cd" * 32))
    assert found(run_problems(warehouse)) == []


def test_a_broken_link_is_named_with_its_step(warehouse):
    (first, second) = linked("ab" * 32, "cd" * 32)
    write_run(warehouse, [first, (second[0], "ef" * 32)])
    [problem] = run_problems(warehouse)
    assert problem.kind == "hash" and "step 2" in problem.detail


def test_a_digest_that_is_no_hexadecimal_number_breaks_the_chain(warehouse):
    write_run(warehouse, [("digest", "chain")])
    assert found(run_problems(warehouse)) == [("hash", "runs/r/events.jsonl")]


def test_a_step_that_delivered_other_samples_is_named(warehouse):
    write_run(warehouse, linked("ab" * 32), delivered=(2, 0))
    assert found(run_problems(warehouse)) == [("count", "runs/r/events.jsonl")]


def test_a_folder_of_progress_is_no_ghost_and_one_with_other_files_is(warehouse):
    publish_bytes(warehouse.root / "labels/started/parts/f/labels.parquet", b"x")
    publish_bytes(warehouse.root / "streams/started/source/News/shard.mds", b"x")
    assert found(ghost_problems(warehouse)) == []
    publish_bytes(warehouse.root / "labels/lost/notes.txt", b"x")
    assert found(ghost_problems(warehouse)) == [("orphan", "labels/lost")]


def test_an_empty_folder_of_a_field_and_a_file_in_place_of_parts_are_ghosts(warehouse):
    (warehouse.root / "streams/hollow/source").mkdir(parents=True)
    publish_bytes(warehouse.root / "labels/swapped/parts", b"x")
    assert found(ghost_problems(warehouse)) == [("orphan", "streams/hollow"), ("orphan", "labels/swapped")]


@pytest.mark.parametrize(
    ("file", "folder", "lacking"),
    [
        ("runs/r/model/config.json", "runs/r", "events.jsonl"),
        ("agents/a/config.json", "agents/a", "model.safetensors"),
        ("feedback/farm/p0.parquet", "feedback/farm", "trajectories/farm/set.json"),
        ("effects/e/effects.parquet", "effects/e", "effects/e/effects.json"),
        ("rejects/main/f/rejects.parquet", "rejects/main", "labels/main"),
    ],
)
def test_a_folder_without_the_file_that_makes_it_exist_is_half_written(warehouse, file, folder, lacking):
    publish_bytes(warehouse.root / file, b"x")
    [problem] = half_written(warehouse)
    assert problem.path == folder and f"{lacking} is missing" in problem.detail


def test_a_run_that_starts_is_not_half_written(warehouse):
    publish_bytes(warehouse.root / "runs/r/config.yaml", b"x")
    assert found(half_written(warehouse)) == []


def test_links_are_allowed_at_the_first_level_and_inside_a_model(warehouse, tmp_path):
    publish_bytes(warehouse.root / "models/m/blobs/weights", b"x")
    (warehouse.root / "models/m/model.safetensors").symlink_to("blobs/weights")
    (tmp_path / "disk").mkdir()
    (warehouse.root / "streams").symlink_to(tmp_path / "disk")
    assert found(link_problems(warehouse)) == []
    (warehouse.root / "models/other").symlink_to(tmp_path / "disk")
    assert found(link_problems(warehouse)) == [("link", "models/other")]


def test_counts_of_the_catalog_are_those_of_the_manifests(warehouse, corpus):
    sync(warehouse)
    assert catalog_problems(warehouse, [corpus], [], whole=True) == []
    [ghost] = catalog_problems(warehouse, [], [], whole=True)
    assert ghost.kind == "catalog" and "main/1" in ghost.detail


def test_a_corpus_under_a_name_that_no_command_takes_is_named(warehouse, corpus):
    folder = warehouse.labels("main")
    folder.rename(folder.with_name("my corpus"))
    (warehouse.root / "labels/notes of mine").mkdir()
    (warehouse.root / "labels/linked").symlink_to(folder.with_name("my corpus"))
    assert found(ghost_problems(warehouse)) == [("orphan", "labels/my corpus")]


def test_damaged_models_and_configurations_of_runs_are_named(warehouse):
    for folder in (warehouse.model("base"), warehouse.run("r") / "model"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        files = {"model.safetensors": hashlib.sha256(b"weights").hexdigest()}
        (folder / "dmix.json").write_text(json.dumps({"files": files}))
    config = warehouse.run("r") / "config.yaml"
    config.write_text("run_id: r\n")
    assert found(model_problems(warehouse)) == []
    for folder in (warehouse.model("base"), warehouse.run("r") / "model"):
        (folder / "model.safetensors").write_bytes(b"weighty")
    for damage in ("{a: 1", "text"):
        config.write_text(damage)
        problems = [("hash", "models/base"), ("hash", "runs/r/model"), ("manifest", "runs/r/config.yaml")]
        assert found(model_problems(warehouse)) == problems
