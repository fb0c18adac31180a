"""One unit that fails ends no other, and what became of each is on record."""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from types import SimpleNamespace

import pytest
from tests.training.comparison.units.noted_process import note_process

from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.runs import comparison
from dmix.training.comparison.units import queue, run_unit
from dmix.training.comparison.units.store import read_runs, read_tables, run_row, write_unit
from dmix.training.comparison.units.units import Unit
from dmix.warehouse_schema.errors import LockHeldError, TrainingError
from dmix.warehouse_schema.files.locks import held_lock

UNIT = Unit(
    setting="s",
    stage="farm",
    part="draw",
    kind="static",
    controller="static-0",
    spec="natural",
    seed=1,
    base=0,
    inputs="x",
)


@pytest.fixture
def paths(tmp_path):
    return StudyPaths.of("s", work=tmp_path / "work", results=tmp_path / "results")


def on_queue(paths, **given):
    options = {"workers": 1, "until": None, "commit": "c", "progress": str}
    return queue.run_queue([UNIT, UNIT], paths, None, **options | given)


def test_a_finished_unit_is_on_record_with_its_rows(paths, monkeypatch):
    def finish(unit, *_):
        (row,) = read_runs(paths)
        assert (row["unit_id"], row["status"]) == (unit.unit_id, "running")
        step = {"step": 1, "mixture": [1.0], "target_share": 0.0, "scores": []}
        return run_unit.UnitResult(facts={"steps": 1}, steps=[step])

    monkeypatch.setattr(run_unit, "run_unit", finish)
    seconds, error = queue.execute(UNIT, paths, None, "c0de")
    (row,) = read_runs(paths)
    assert (error, row["status"], row["steps"], row["commit"]) == ("", "done", 1, "c0de")
    assert row["seconds"] == seconds >= 0 and row["finished_at"] >= row["started_at"]
    assert len(read_tables(paths)["steps"]) == 1


@pytest.mark.parametrize(
    ("raised", "start", "end"),
    [
        (TrainingError("the loss is not finite"), "the loss is not finite", "the loss is not finite"),
        (KeyError("lost"), "  File", "KeyError: 'lost'\n"),
    ],
)
def test_a_failed_unit_is_on_record_with_its_cause(paths, monkeypatch, raised, start, end):
    def fail(*_):
        raise raised

    monkeypatch.setattr(run_unit, "run_unit", fail)
    _, error = queue.execute(UNIT, paths, None, "c")
    (row,) = read_runs(paths)
    assert (row["status"], row["error"]) == ("failed", error)
    assert error.startswith(start) and error.endswith(end)


def test_no_unit_starts_after_the_limit_of_time(paths):
    report = on_queue(paths, until=time.monotonic() - 1)
    assert (report.done, report.failed, report.left) == (0, 0, 1)


def test_units_that_are_done_need_no_worker(paths):
    write_unit(paths, run_row(UNIT, status="done", started_at="2026-01-01"))
    report = on_queue(paths)
    assert (report.done, report.failed, report.left) == (0, 0, 0)


def test_a_second_queue_on_the_same_setting_is_refused_before_it_prepares_anything(paths, monkeypatch):
    study = SimpleNamespace(paths=paths)
    monkeypatch.setattr(comparison, "study_of", lambda *_: study)
    monkeypatch.setattr(comparison, "_protocol", lambda *_: None)
    request = SimpleNamespace(stages=())
    with held_lock(paths.lock, what="the queue"), pytest.raises(LockHeldError, match="queue in"):
        comparison.run_comparison(None, request, prepare=lambda _: pytest.fail("it began"), progress=str)


def test_units_run_on_processes_of_one_thread_each(paths, monkeypatch):
    monkeypatch.setattr(queue, "ProcessPoolExecutor", ProcessPoolExecutor)
    monkeypatch.setattr(queue, "execute", note_process)
    paths.work.mkdir(parents=True)
    assert on_queue(paths).done == 1
    assert json.loads((paths.work / UNIT.unit_id).read_text()) == [os.getpid(), 1, "1", "c"]


def test_new_processes_get_one_thread_each_and_the_environment_comes_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("RAYON_NUM_THREADS", raising=False)
    with pytest.raises(ValueError, match="x"), queue._one_thread_each():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["RAYON_NUM_THREADS"] == "1"
        raise ValueError("x")
    assert os.environ["OMP_NUM_THREADS"] == "7" and "RAYON_NUM_THREADS" not in os.environ


def test_the_line_of_a_failed_unit_ends_with_its_cause():
    assert queue._outcome(UNIT, 12.4, "") == "farm · static-0 · seed 1 · 12 s"
    assert queue._outcome(UNIT, 1.0, "Traceback\nKeyError: 'x'\n").endswith("failed: KeyError: 'x'")
