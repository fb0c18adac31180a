"""Every kind of damage is found, named, and told apart."""

import hashlib
import json
import shutil

import duckdb
import pytest

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.publishing.shard_inputs import label_paths
from dmix.warehouse_schema.catalog.sync import rebuild, sync
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture(scope="module")
def synced(published, tmp_path_factory):
    """A copy of `published` with a catalog."""
    folder = tmp_path_factory.mktemp("synced") / "w"
    sync(Warehouse.at(shutil.copytree(published[0].root, folder)))
    return folder


@pytest.fixture
def copy(published, synced, tmp_path):
    """(warehouse, corpora, manifest): a copy of `published` that a test may damage, with a catalog."""
    _, corpora, manifest = published
    return Warehouse.at(shutil.copytree(synced, tmp_path / "copy")), corpora, manifest


def problems(warehouse, *, dataset=None):
    """[(kind, path)] in order, without the dataset's folder."""
    report = verify_warehouse(warehouse, dataset=dataset, progress=lambda line: None)
    return [(p.kind, p.path.partition("/")[2].partition("/")[2] or p.path) for p in report.problems]


def flip(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))


def test_an_undamaged_warehouse_has_no_problems(copy):
    warehouse, corpora, manifest = copy
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    assert report.problems == ()
    labels = sum(len(list(label_paths(warehouse, corpus))) for corpus in corpora)
    assert report.files == labels + sum(len(stream.files) for stream in manifest.streams)
    assert report.size_bytes > 0


def test_a_flipped_byte_in_a_shard_is_found(copy):
    warehouse, _, manifest = copy
    flip(warehouse.stream(manifest.dataset) / "source" / "News" / "shard.00001.00000.mds", -3)
    assert problems(warehouse) == [("hash", "source/News/shard.00001.00000.mds")]


def test_effects_are_checked_against_their_manifest(copy):
    warehouse, _, _ = copy
    folder = warehouse.effects("counts")
    folder.mkdir(parents=True)
    (folder / "effects.parquet").write_bytes(b"some bytes")
    named = {"size_bytes": 10, "sha256": hashlib.sha256(b"some bytes").hexdigest()}
    (folder / "effects.json").write_text(
        json.dumps({"files": {"effects.parquet": named, "errors.parquet": named}})
    )
    assert problems(warehouse) == [("missing", "errors.parquet")]
    flip(folder / "effects.parquet", 3)
    (folder / "errors.parquet").write_bytes(b"some bytes")
    assert problems(warehouse) == [("hash", "effects.parquet")]
    (folder / "effects.json").write_text("{}")
    assert problems(warehouse) == [("manifest", "effects.json")]


def test_a_flipped_byte_in_a_header_is_found_twice(copy):
    warehouse, _, manifest = copy
    flip(warehouse.stream(manifest.dataset) / "source" / "News" / "shard.00001.00000.mds", 0)
    name = "source/News/shard.00001.00000.mds"
    assert problems(warehouse) == [("hash", name), ("header", name)]


def test_a_missing_shard_a_cut_shard_and_an_orphan_are_found(copy):
    warehouse, _, manifest = copy
    folder = warehouse.stream(manifest.dataset) / "source" / "News"
    (folder / "shard.00000.00000.mds").rename(folder / "shard.00077.00000.mds")
    cut = folder / "shard.00001.00000.mds"
    cut.write_bytes(cut.read_bytes()[:-7])
    assert sorted(problems(warehouse)) == [
        ("missing", "source/News/shard.00000.00000.mds"),
        ("orphan", "source/News/shard.00077.00000.mds"),
        ("size", "source/News/shard.00001.00000.mds"),
    ]


def test_what_a_killed_job_left_in_staging_is_no_damage(copy):
    warehouse, _, manifest = copy
    (warehouse.stream(manifest.dataset) / ".staging" / "attempts" / "x").mkdir(parents=True)
    assert problems(warehouse) == []


def test_a_changed_index_is_found(copy):
    warehouse, _, manifest = copy
    path = warehouse.stream(manifest.dataset) / "target" / "Games" / "index.json"
    index = json.loads(path.read_text())
    index["shards"] = index["shards"][1:]
    path.write_text(json.dumps(index))
    found = problems(warehouse)
    assert ("index", "target/Games/index.json") in found
    assert ("size", "target/Games/index.json") in found


def test_a_damaged_label_file_is_found(copy):
    warehouse, corpora, _ = copy
    paths = [path for path, _ in label_paths(warehouse, corpora[0])]
    flip(paths[0], 10)
    paths[1].write_bytes(b"not Parquet")
    name = f"parts/{paths[0].parent.name}/{paths[0].name}", f"parts/{paths[1].parent.name}/{paths[1].name}"
    assert problems(warehouse) == [("hash", name[0]), ("size", name[1]), ("count", name[1])]


def test_a_missing_label_file_and_a_stray_in_a_part_are_found(copy):
    warehouse, corpora, _ = copy
    (path, _) = next(label_paths(warehouse, corpora[1]))
    path.rename(path.with_name("stray.parquet"))
    assert [kind for kind, _ in problems(warehouse)] == ["orphan", "missing"]


def test_another_tokenizer_is_found(copy):
    warehouse, _, manifest = copy
    path = warehouse.stream(manifest.dataset) / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b" ")
    assert problems(warehouse) == [("hash", "tokenizer.json")]
    path.unlink()
    assert problems(warehouse) == [("missing", "tokenizer.json")]


def test_an_altered_manifest_is_found_and_so_are_counts_that_no_longer_fit(copy):
    warehouse, _, manifest = copy
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    value = json.loads(path.read_text())
    news = next(s for s in value["streams"] if s["domain"] == "News")
    news["samples"] += 1
    value["seed"] = 99
    path.write_text(json.dumps(value))
    found = problems(warehouse)
    assert found[0] == ("manifest", "manifest.json")
    assert found[1:3] == [("count", "source/News")] * 2
    assert ("catalog", "catalog.duckdb") in found


def test_a_manifest_without_its_settings_is_found(copy):
    warehouse, _, manifest = copy
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "settings": {}}))
    assert set(problems(warehouse)) == {("manifest", "manifest.json")}


def test_a_damaged_manifest_is_reported_and_the_rest_is_still_checked(copy):
    warehouse, _, manifest = copy
    (warehouse.stream(manifest.dataset) / "manifest.json").write_text("{}")
    (warehouse.labels("main-source") / "v1.json").write_text("{")
    kinds = [kind for kind, _ in problems(warehouse)]
    assert kinds.count("manifest") == 2


def test_a_catalog_that_knows_nothing_of_a_corpus_is_found(copy, published):
    warehouse, corpora, _ = copy
    path = warehouse.labels(corpora[0].corpus) / "v1.json"
    value = json.loads(path.read_text())
    (path.parent / "v2.json").write_text(json.dumps({**value, "version": 2}))
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    (problem,) = [p for p in report.problems if "edited" not in p.detail]
    assert problem.kind == "catalog"
    assert problem.detail == "view corpora, main-source/2: no row, but the manifest says (57, 0)"


def test_one_dataset_can_be_checked_alone(copy):
    warehouse, _, manifest = copy
    assert problems(warehouse, dataset=manifest.dataset) == []
    with pytest.raises(NotFoundError, match="dataset 'nope' is not in"):
        problems(warehouse, dataset="nope")


def test_an_empty_warehouse_has_nothing_to_check(warehouse):
    warehouse.root.mkdir()
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    assert (report.files, report.problems) == (0, ())


def edit_stream(warehouse, manifest, change):
    """Edits the entries of a dataset's manifest by hand, and brings the catalog up to date."""
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    value = json.loads(path.read_text())
    change({(s["field"], s["domain"]): s for s in value["streams"]})
    path.write_text(json.dumps(value))
    rebuild(warehouse)


@pytest.mark.parametrize("key", ["documents", "tail_tokens"])
def test_an_edited_count_is_found_after_the_catalog_was_made_anew(copy, key):
    warehouse, _, manifest = copy

    def change(streams):
        stream = streams["source", "News"]
        stream[key] = max(0, stream[key] - 1) if stream[key] else 1

    edit_stream(warehouse, manifest, change)
    assert ("manifest", "manifest.json") in problems(warehouse)


def test_labels_that_were_exchanged_between_streams_are_found(copy):
    warehouse, _, manifest = copy

    def change(streams):
        one, other = streams["source", "News"], streams["target", "Games"]
        one["domain"], other["domain"] = other["domain"], one["domain"]

    edit_stream(warehouse, manifest, change)
    assert "manifest" in [kind for kind, _ in problems(warehouse)]


def test_a_corpus_that_is_gone_is_found(copy):
    warehouse, corpora, _ = copy
    (warehouse.labels(corpora[0].corpus) / f"v{corpora[0].version}.json").unlink()
    rebuild(warehouse)
    assert ("missing", "manifest.json") in problems(warehouse)


def test_a_row_of_the_catalog_that_no_manifest_has_is_found(copy):
    warehouse, _, _ = copy
    with duckdb.connect(str(warehouse.catalog)) as catalog:
        catalog.execute(
            "insert into store.corpora by name"
            " select * replace ('ghost' as corpus) from store.corpora limit 1"
        )
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    assert [(p.kind, "ghost" in p.detail) for p in report.problems] == [("catalog", True)]


def test_foreign_files_without_a_manifest_are_found_unless_a_job_holds_the_folder(copy, held_elsewhere):
    warehouse, _, _ = copy
    folder = warehouse.stream("0123456789abcdef")
    folder.mkdir()
    assert problems(warehouse) == []
    (folder / "tokenizer.json").write_text("{}")  # a job that was cut off leaves it for its next start
    assert problems(warehouse) == []
    (folder / "notes.txt").write_text("?")
    assert problems(warehouse) == [("orphan", "streams/0123456789abcdef")]
    with held_elsewhere(warehouse.lock_of("dataset", "0123456789abcdef")):
        assert problems(warehouse) == []


def write_run(warehouse, *, second_digest="bb" * 32, delivered=(3,)):
    """The events of a run of two steps over one domain."""
    log = EventLog(warehouse.run("r") / "events.jsonl", run_id="r", attempt=1)
    log.write("run_started", kind="guided", dataset="d", controller="natural", space=[["source", "News"]])
    chain = "0" * 64
    for step, digest in ((1, "aa" * 32), (2, "bb" * 32)):
        chain = hashlib.sha256(bytes.fromhex(chain) + bytes.fromhex(digest)).hexdigest()
        log.write("decision", step=step, asked_N=[1.0], planned_N=[1.0], planned_samples_N=[3])
        result = {"delivered_samples_N": [3] if step == 1 else list(delivered), "delivered_tokens_N": [24]}
        said = digest if step == 1 else second_digest
        log.write("step_done", step=step, **result, passes_N=[0.1], digest=said, chain=chain)
    log.write("run_done", step=2, detail="")


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, None),
        ({"second_digest": "00" * 32}, "hash"),
        ({"second_digest": "x"}, "hash"),
        ({"delivered": (9,)}, "count"),
    ],
)
def test_a_broken_chain_and_other_samples_than_planned_are_found(copy, changes, kind):
    warehouse, _, _ = copy
    write_run(warehouse, **changes)
    sync(warehouse)
    assert problems(warehouse) == ([(kind, "events.jsonl")] if kind else [])


def test_links_of_the_first_level_are_named_and_those_below_are_problems(copy, tmp_path):
    warehouse, _, manifest = copy
    (warehouse.root / "streams").rename(tmp_path / "scratch")
    (warehouse.root / "streams").symlink_to(tmp_path / "scratch")
    lines = []
    report = verify_warehouse(warehouse, dataset=None, progress=lines.append)
    assert report.problems == ()
    assert f"{warehouse.root / 'streams'} is a link to {tmp_path / 'scratch'}" in lines
    (tmp_path / "scratch" / manifest.dataset / "extra").symlink_to(tmp_path)
    (warehouse.root / "models").symlink_to(tmp_path / "nowhere")
    assert sorted(kind for kind, _ in problems(warehouse)) == ["link", "link"]


@pytest.mark.parametrize(
    ("written", "ghost"),
    [
        (["runs/r/.lock", "runs/r/config.yaml"], None),  # a start that was killed
        (["runs/r/config.yaml", "runs/r/model/model.safetensors"], "runs/r"),
        (["agents/a/config.json", "agents/a/model.safetensors"], None),
        (["agents/a/config.json"], "agents/a"),
        (["agents/a/README.md", "agents/a/model.safetensors"], "agents/a"),
        (["rejects/gone/abc/part-0.parquet"], "rejects/gone"),
        (["feedback/f/static-0001.parquet"], "feedback/f"),
        (["trajectories/f/static-0001.parquet"], "trajectories/f"),
        (["effects/e/effects.parquet"], "effects/e"),
        (["effects/e/probes/one.json"], None),  # progress of a command that was killed
    ],
)
def test_halves_of_runs_agents_rejects_sets_and_effects_are_found(copy, written, ghost):
    warehouse, _, _ = copy
    for name in written:
        path = warehouse.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")
    found = verify_warehouse(warehouse, dataset=None, progress=print).problems
    assert [(p.kind, p.path) for p in found if p.kind != "catalog"] == ([("orphan", ghost)] if ghost else [])


def test_a_stray_folder_and_a_link_stop_neither_verify_nor_gc(copy, tmp_path):
    warehouse, corpora, manifest = copy
    for first, name in (("labels", corpora[0].corpus), ("streams", manifest.dataset)):
        shutil.copytree(warehouse.root / first / name, tmp_path / first)
        shutil.copytree(warehouse.root / first / name, warehouse.root / first / "a b")
        (warehouse.root / first / "linked").symlink_to(tmp_path / first)
    (warehouse.root / "duplicates").mkdir()
    (warehouse.root / "duplicates" / "linked").symlink_to(tmp_path)
    outside = (tmp_path / "labels", tmp_path / "streams")
    before = [sorted(folder.rglob("*")) for folder in outside]
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    assert sorted((p.kind, p.path) for p in report.problems) == [
        ("link", "duplicates/linked"),
        ("link", "labels/linked"),
        ("link", "streams/linked"),
        ("orphan", "labels/a b"),
        ("orphan", "streams/a b"),
    ]
    assert collect_garbage(warehouse, dry_run=False).found == ()
    assert [sorted(folder.rglob("*")) for folder in outside] == before


@pytest.mark.parametrize(
    "content",
    [
        [],
        {"blocks": 3},
        {"blocks": [{"name": "a.parquet"}]},
        {"blocks": [{"name": "a.parquet", "size_bytes": "12", "sha256": "x", "documents": 1}]},
        {"blocks": [{"name": "../a.parquet", "size_bytes": 12, "sha256": "x", "documents": 1}]},
        {"files": {"a.parquet": {"size_bytes": 1.5, "sha256": "x"}}},
        {"files": {"a.parquet": {"size_bytes": 1, "sha256": 7}}},
    ],
    ids=str,
)
def test_a_manifest_of_another_shape_is_a_problem_and_the_rest_is_checked(copy, content):
    warehouse, _, manifest = copy
    of_blocks = "files" not in content
    path = warehouse.root / ("start_states/s/estimate.json" if of_blocks else "effects/e/effects.json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content))
    (warehouse.stream(manifest.dataset) / "tokenizer.json").write_bytes(b"{}")
    found = verify_warehouse(warehouse, dataset=None, progress=lambda line: None).problems
    assert {p.path.partition("/")[0] for p in found if p.kind in ("manifest", "hash")} == {
        path.relative_to(warehouse.root).parts[0],
        "streams",
    }
