"""What no manifest names goes, what one names or a job holds stays."""

import shutil
from collections import Counter
from pathlib import PurePath

import pytest

from dmix.etl.maintenance.gc import collect_garbage
from dmix.etl.maintenance.verify import verify_warehouse
from dmix.etl.publishing.unnamed import unnamed_below
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import corpus_versions


def files_below(folder):
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


def collected(warehouse, *, dry_run=False):
    report = collect_garbage(warehouse, dry_run=dry_run)
    return sorted(str(garbage.path.relative_to(warehouse.root)) for garbage in report.found)


@pytest.fixture
def littered(warehouse, pair, make_dataset):
    """(manifest, paths of garbage) of a warehouse with one published dataset."""
    manifest = make_dataset(pair)
    stream = f"streams/{manifest.dataset}"
    litter = [
        f"{stream}/.staging/attempts/lost/shard.00000.00000.mds",
        f"{stream}/source/News/shard.00099.00000.mds",
        f"{stream}/source/Other/index.json",
        f"{stream}/.manifest.json.x1",
        "streams/0123456789abcdef/source/News/shard.00000.00000.mds",
        "labels/main-source/parts/unnamed/labels-00000.parquet",
        f"labels/main-source/parts/{pair[0].parts[0].fingerprint}/stray.parquet",
        "labels/main-source/.v2.json.x2",
        "labels/killed-source/parts/first/labels-00000.parquet",
        "rejects/main-source/unnamed/rejects.parquet",
    ]
    for name in litter:
        path = warehouse.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    return manifest, litter


def test_garbage_goes_and_everything_named_stays(warehouse, pair, make_dataset, littered):
    named = files_below(warehouse.root) - {type(warehouse.root)(name) for name in littered[1]}
    report = collect_garbage(warehouse, dry_run=False)
    assert report.size_bytes == 5 * len(littered[1])
    assert report.in_use == ()
    assert {path for path in files_below(warehouse.root) if path.parts[0] != ".locks"} == {
        path for path in named if path.parts[0] != ".locks"
    }
    assert not (warehouse.root / "labels" / "killed-source").exists()
    sync(warehouse)
    assert verify_warehouse(warehouse, dataset=None, progress=lambda line: None).problems == ()
    assert collected(warehouse) == []


def test_a_dry_run_finds_the_same_and_removes_nothing(warehouse, littered):
    before = files_below(warehouse.root)
    found = collected(warehouse, dry_run=True)
    assert files_below(warehouse.root) >= before
    assert found == collected(warehouse)


def test_parts_of_old_versions_stay(warehouse, make_corpus):
    make_corpus("a", "source", [[("News", "old")]])
    make_corpus("a", "source", [[("News", "new")]], version=2)
    assert corpus_versions(warehouse, "a") == [1, 2]
    assert collected(warehouse) == []


def test_what_a_running_job_holds_is_left_alone(warehouse, littered, held_elsewhere):
    manifest, _ = littered
    with held_elsewhere(warehouse.lock_of("dataset", "0123456789abcdef")):
        report = collect_garbage(warehouse, dry_run=False)
    assert report.in_use == ("dataset 0123456789abcdef",)
    assert (warehouse.root / "streams" / "0123456789abcdef" / "source").is_dir()
    assert not (warehouse.stream(manifest.dataset) / ".staging").exists()


def test_an_unreadable_manifest_stops_the_removal(warehouse, littered):
    _, litter = littered
    (warehouse.root / "labels" / "main-source" / "v1.json").write_text("{")
    with pytest.raises(InputError, match=r"v1.json is not valid JSON"):
        collect_garbage(warehouse, dry_run=False)
    assert (warehouse.root / litter[5]).exists()


def test_files_that_someone_else_made_stay(warehouse, littered):
    manifest, _ = littered
    stream = warehouse.stream(manifest.dataset)
    foreign = [
        stream / "source" / "notes.txt",
        stream / ".git" / "config",
        warehouse.root / "streams" / "0123456789abcdef" / "thesis.tex",
        warehouse.root / "labels" / "killed-source" / "parts" / "first" / "thesis.tex",
    ]
    for path in foreign:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("precious")
    found = collected(warehouse)
    assert "streams/0123456789abcdef/source" in found
    assert all(path.read_text() == "precious" for path in foreign)


@pytest.mark.parametrize("name", ["source/News", ".staging/attempts/x"])
def test_nothing_is_removed_through_a_link(warehouse, littered, tmp_path, name):
    manifest, _ = littered
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "shard.00000.00000.mds").write_text("precious")
    place = warehouse.stream(manifest.dataset) / name
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(victim)
    with pytest.raises(InputError, match="is a link to"):
        collect_garbage(warehouse, dry_run=False)
    assert (victim / "shard.00000.00000.mds").read_text() == "precious"


def test_a_folder_that_is_a_link_is_passed_over(warehouse, littered, tmp_path):
    _, litter = littered
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "shard.00000.00000.mds").write_text("precious")
    (warehouse.root / "streams" / "linked").symlink_to(victim)
    collect_garbage(warehouse, dry_run=False)
    assert not (warehouse.root / litter[0]).exists()
    assert (victim / "shard.00000.00000.mds").read_text() == "precious"


def test_a_linked_first_level_folder_is_swept_like_any_other(warehouse, littered, tmp_path):
    (warehouse.root / "streams").rename(tmp_path / "scratch")
    (warehouse.root / "streams").symlink_to(tmp_path / "scratch")
    assert f"streams/{littered[0].dataset}/.staging" in collected(warehouse)
    assert not (tmp_path / "scratch" / littered[0].dataset / ".staging").exists()


def test_an_empty_warehouse_has_no_garbage(warehouse):
    assert collected(warehouse) == []


def test_what_is_unnamed_is_found_in_time_that_grows_with_the_number_of_streams(tmp_path, monkeypatch):
    looked_at = Counter()
    parents = PurePath.parents.__get__
    monkeypatch.setattr(
        PurePath, "parents", property(lambda path: looked_at.update(["path"]) or parents(path))
    )
    for count in (20, 80):
        root = tmp_path / str(count)
        named = {root / "source" / f"label{i}" / name for i in range(count) for name in ("index.json", "a")}
        for path in named:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        looked_at.clear()
        assert unnamed_below(root / "source", named) == []
        assert looked_at["path"] == 2 * count


def test_effects_that_were_never_published_go_and_published_ones_keep_their_runs(warehouse):
    kept = ["effects.json", "effects.parquet", "checks/0a/pull-1.parquet", "plans/plan-1.json"]
    litter = [".errors.parquet.x1", "stray.parquet", "probes/probes.json", "probes/probe-01.parquet"]
    for name in (*kept, *litter):
        path = warehouse.effects("counts") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (warehouse.effects("counts") / "effects.json").write_text('{"files": {"effects.parquet": {}}}')
    half = warehouse.effects("killed")
    (half / "probes").mkdir(parents=True)
    (half / "probes" / "control-01.parquet").write_bytes(b"12345")
    (half / "notes.txt").write_text("somebody's own")
    with held_lock(warehouse.lock_of("effects", "killed"), what="a probe"):
        assert "effects killed" in collect_garbage(warehouse, dry_run=True).in_use
    assert collected(warehouse) == sorted(
        [
            "effects/counts/.errors.parquet.x1",
            "effects/counts/probes",
            "effects/counts/stray.parquet",
            "effects/killed/probes",
        ]
    )
    assert files_below(warehouse.effects("counts")) == {PurePath(name) for name in kept}
    assert files_below(half) == {PurePath("notes.txt")}
