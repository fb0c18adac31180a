"""Which files a catalog is an index of."""

import json

import pytest

from dmix.warehouse_schema.catalog.units import published_units, read_unit
from dmix.warehouse_schema.files.layout import publish_json


def kinds(warehouse):
    return sorted({unit.kind for unit in published_units(warehouse).values()})


def test_every_kind_of_file_is_a_unit_with_its_folder(full_warehouse):
    found = published_units(full_warehouse)
    assert {"corpus", "dataset", "set", "trajectories", "feedback", "agent", "run"} <= set(
        kinds(full_warehouse)
    )
    unit = found["runs/r1/events.jsonl"]
    assert (unit.kind, unit.folder) == ("run", "r1")
    path = full_warehouse.root / unit.path
    assert (unit.size_bytes, unit.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert set(published_units(full_warehouse, "agent")) == {"agents/a1/config.json"}


def test_what_is_under_way_or_of_a_strangers_name_is_no_unit(full_warehouse):
    before = set(published_units(full_warehouse))
    for folder in (".a2", "a copy of a1", "a1 (2)"):
        publish_json(full_warehouse.root / "agents" / folder / "config.json", {})
    (full_warehouse.labels("main-source") / "v0.json").write_text("{}")
    (full_warehouse.labels("main-source") / "v1b.json").write_text("{}")
    (full_warehouse.root / "agents" / "empty").mkdir()
    assert set(published_units(full_warehouse)) == before


def test_parts_of_a_set_without_its_manifest_do_not_exist(full_warehouse):
    (full_warehouse.trajectories("farm") / "set.json").unlink()
    assert "trajectories" not in kinds(full_warehouse) and "set" not in kinds(full_warehouse)


@pytest.mark.parametrize("linked", ["file", "folder"])
def test_a_link_is_left_out_with_a_word(full_warehouse, tmp_path, caplog, linked):
    original = full_warehouse.agent("a1")
    if linked == "folder":
        original.rename(tmp_path / "elsewhere")
        original.symlink_to(tmp_path / "elsewhere")
    else:
        (original / "config.json").rename(tmp_path / "config.json")
        (original / "config.json").symlink_to(tmp_path / "config.json")
    assert "agent" not in kinds(full_warehouse)
    assert "its path has a link" in caplog.text


def test_rows_of_an_agent_hold_its_config_and_its_unit(full_warehouse):
    (unit,) = published_units(full_warehouse, "agent").values()
    (row,) = read_unit(full_warehouse, unit)["agents"]
    assert (row["unit"], row["agent"], row["set_name"]) == ("agents/a1/config.json", "a1", "farm")
    assert json.loads(row["config"])["preset"] == "paper"


def test_scores_of_an_evaluation_are_rows_of_its_run(full_warehouse):
    score = {"task": "t", "metric": "acc", "value": 0.5, "stderr": None, "items": 4}
    path = full_warehouse.run("r1") / "evaluations" / "step3-t.json"
    publish_json(path, {"step": 3, "scores": [score, {**score, "metric": "f1"}], "evaluated_at": None})
    (unit,) = published_units(full_warehouse, "evaluation").values()
    rows = read_unit(full_warehouse, unit)["evaluations"]
    assert [(row["run_id"], row["step"], row["metric"]) for row in rows] == [
        ("r1", 3, "acc"),
        ("r1", 3, "f1"),
    ]
    path.write_text(json.dumps({"step": 3, "scores": [{"task": "t"}]}))
    with pytest.raises(LookupError):
        read_unit(full_warehouse, unit)


def test_rows_of_a_corpus_name_its_rejects(full_warehouse):
    (unit,) = published_units(full_warehouse, "corpus").values()
    rows = read_unit(full_warehouse, unit)
    assert rows["corpora"][0]["rejected"] == 2 and rows["generations"] == []
    assert rows["reject_files"][0]["path"] == "rejects/main-source/f00d/rejects-0.parquet"
    assert [row["domain"] for row in rows["taxonomies"]] == ["Games", "Real Estate"]
