"""Every kind of damage is found, named, and told apart."""

import hashlib
import json
import shutil

import pytest

from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.publishing.label_splits import label_paths
from dmix.warehouse_schema.catalog.catalog import sync
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def copy(published, tmp_path):
    """(warehouse, corpora, manifest): a copy of `published` that a test may damage, with a catalog."""
    original, corpora, manifest = published
    warehouse = Warehouse.at(tmp_path / "copy")
    shutil.copytree(original.root, warehouse.root)
    sync(warehouse)
    return warehouse, corpora, manifest


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
    assert problem.detail == "view corpora, main-source/2: no row, the manifest says (57, 0)"


def test_one_dataset_can_be_checked_alone(copy):
    warehouse, _, manifest = copy
    assert problems(warehouse, dataset=manifest.dataset) == []
    with pytest.raises(NotFoundError, match="dataset 'nope' is not in"):
        problems(warehouse, dataset="nope")


def test_an_empty_warehouse_has_nothing_to_check(warehouse):
    warehouse.root.mkdir()
    report = verify_warehouse(warehouse, dataset=None, progress=lambda line: None)
    assert (report.files, report.problems) == (0, ())
