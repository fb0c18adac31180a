"""Units on disk and in the tables of the results."""

import json
from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.units.queue import missing_units
from dmix.training.comparison.units.store import (
    Scales,
    compact,
    final_utilities,
    keep_attempt,
    now,
    read_runs,
    run_row,
    write_unit,
)
from dmix.training.comparison.units.units import Unit

UNIT = Unit(
    setting="s",
    stage="headroom",
    part="draw",
    kind="static",
    controller="static-0000",
    spec="replay:farm/static-0000",
    seed=1,
    base=0,
    inputs="abc",
)
SCALES = Scales(scale={"a": 0.5, "b": 2.0, "c": 1.0}, weight={"a": 1.0, "b": 3.0, "c": 0.0}, published=True)


@pytest.fixture
def paths(tmp_path):
    return StudyPaths.of("s", work=tmp_path / "work", results=tmp_path / "results")


def item(objective, score, base, *, layer="feedback", item_id="i"):
    return {
        "layer": layer,
        "objective": objective,
        "item_id": item_id,
        "near_duplicate": False,
        "score": score,
        "base_score": base,
    }


def finish(paths, unit, *, score=-2.0):
    row = run_row(unit, status="done", commit="c", started_at=now(), finished_at=now(), steps=1, seconds=3.0)
    step = {"step": 1, "mixture": [0.5, 0.5], "target_share": 0.5, "scores": [score, -1.0]}
    items = [item("a", score, -3.0), item("b", -1.0, -5.0), item("c", 0.0, 0.0, layer="confirmation")]
    write_unit(paths, row | {"base_scores": [-3.0, -5.0]}, steps=[step], items=items)


def test_the_id_follows_what_decides_a_result_and_nothing_else():
    assert UNIT.unit_id == replace(UNIT, stage="farm", part="rerun", controller="x").unit_id
    changes = {
        "spec": "natural",
        "seed": 2,
        "base": 1,
        "inputs": "d",
        "controller_inputs": "e",
        "variation": "f",
    }
    assert (
        len({replace(UNIT, **{name: value}).unit_id for name, value in changes.items()} | {UNIT.unit_id}) == 7
    )


def test_utility_by_hand():
    # lambda 1/4 and 3/4: (-2 + 3) / 0.5 / 4 + (-1 + 5) / 2 * 3 / 4
    assert SCALES.utility({"a": -2.0, "b": -1.0, "c": 9.0}, {"a": -3.0, "b": -5.0, "c": 0.0}) == 0.5 + 1.5


def test_an_objective_counts_by_its_mean_over_items():
    rows = [item("a", -2.0, -3.0), item("a", -4.0, -3.0, item_id="j"), item("b", -1.0, -1.0)]
    found = final_utilities([{"unit_id": "u", **row} for row in rows], SCALES)
    assert found == {("u", "feedback"): 0.0}


def test_a_finished_unit_is_in_all_three_tables(paths):
    finish(paths, UNIT)
    compact(paths, SCALES, objectives=("a", "b"))
    runs, steps, items = (pq.read_table(paths.table(n)).to_pylist() for n in ("runs", "steps", "items"))
    assert runs[0]["unit_id"] == UNIT.unit_id
    assert runs[0]["utility_feedback"] == steps[0]["utility"] == 2.0
    assert runs[0]["utility_development"] is None
    assert json.loads(runs[0]["spec"]) == UNIT.to_json()
    assert [row["objective"] for row in items] == ["a", "b", "c"]


def test_results_stay_when_the_work_folder_is_gone_and_the_unit_is_not_run_again(paths):
    finish(paths, UNIT)
    compact(paths, SCALES, objectives=("a", "b"))
    paths.unit(UNIT.unit_id).unlink()
    other = replace(UNIT, seed=2)
    assert missing_units([UNIT, other, other], paths) == [other]
    finish(paths, other, score=-1.0)
    tables = compact(paths, SCALES, objectives=("a", "b"))
    assert [row["utility_feedback"] for row in tables["runs"]] == [2.0, 2.5]
    assert len(tables["items"]) == 6


def test_started_and_failed_runs_are_on_record_and_run_again(paths):
    failed = replace(UNIT, seed=2)
    write_unit(paths, run_row(UNIT, status="running", started_at=now()))
    write_unit(paths, run_row(failed, status="failed", error="no text", started_at=now()))
    compact(paths, SCALES, objectives=("a", "b"))
    assert [(row["status"], row["error"]) for row in read_runs(paths)] == [
        ("running", ""),
        ("failed", "no text"),
    ]
    assert missing_units([UNIT, failed], paths) == [UNIT, failed]


def test_a_failed_attempt_stays_on_record_when_the_unit_is_made_again(paths):
    write_unit(paths, run_row(UNIT, status="failed", error="no text", started_at="2026-01-01T00:00:00"))
    compact(paths, SCALES, objectives=("a", "b"))
    keep_attempt(paths, UNIT)
    finish(paths, UNIT)
    tables = compact(paths, SCALES, objectives=("a", "b"))
    states = [(row["status"], row["utility_feedback"]) for row in tables["runs"]]
    assert states == [("failed", None), ("done", 2.0)]
    assert len(tables["items"]) == 3
