"""The runs of the quickstart: who trains which, and what is found done."""

import os
import signal
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.quickstart import runs as module
from dmix.cli.workflows.quickstart.runs import has_started, judge_all, second_process, train_all
from dmix.training.run import launch, summary
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes

JOBS = [("natural", 0), ("effect:x", 0), ("natural", 1), ("effect:x", 1)]


class Here:
    """An executor that works at once, and keeps what it was given."""

    def __init__(self):
        self.jobs = []

    def submit(self, work, *job, progress):
        self.jobs.append(job)
        done = Future()
        done.set_result(work(*job, progress=progress))
        return done


@pytest.mark.parametrize("helped", [True, False])
def test_every_second_run_is_the_helpers_and_results_keep_their_order(monkeypatch, helped):
    monkeypatch.setattr(
        module, "_run", lambda warehouse, files, controller, seed, **_: f"{controller}-{seed}"
    )
    helper = Here() if helped else None
    found = train_all(None, None, JOBS, helper, progress=str)
    assert found == {
        "natural": ["natural-0", "natural-1"],
        "effect:x": ["effect:x-0", "effect:x-1"],
    }
    assert helper is None or helper.jobs == JOBS[1::2]


def test_one_core_has_no_second_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    with second_process(wanted=True) as pool:
        assert pool is None
    with second_process(wanted=False) as pool:
        assert pool is None


def test_the_second_process_ends_without_a_word_while_it_has_no_run(monkeypatch):
    """Composer's handler would end it by an exception, whose traceback people would see."""
    before = signal.getsignal(signal.SIGTERM)
    composer = SimpleNamespace(import_module=lambda _: signal.signal(signal.SIGTERM, lambda *_: None))
    monkeypatch.setattr(module, "importlib", composer)
    try:
        assert module._begin_training() == os.getpid()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_run_has_started_with_its_events(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    assert not has_started(warehouse, "effect:x", 3)
    publish_bytes(warehouse.run("effect-3") / "events.jsonl", b"")
    assert has_started(warehouse, "effect:x", 3)


@pytest.mark.parametrize("finished", [True, False])
def test_a_started_run_is_resumed_unless_it_is_finished(tmp_path, monkeypatch, finished):
    warehouse, lines = Warehouse.at(tmp_path), []
    publish_bytes(warehouse.run("natural-0") / "events.jsonl", b"")
    known = SimpleNamespace(finished=finished)
    monkeypatch.setattr(summary, "summarise", lambda path: known)

    def resume(warehouse, run_id, *, progress):
        progress("step 1/2")
        progress(f"run {run_id} ends")
        return "resumed"

    monkeypatch.setattr(launch, "resume_run", resume)
    given = {"steps": 2, "samples_per_step": 8, "progress": lines.append}
    found = module._run(warehouse, None, "natural", 0, **given)
    assert found is known if finished else found == "resumed"
    assert lines == ([] if finished else ["natural-0: step 1/2", "run natural-0 ends"])


def test_runs_are_judged_before_and_after_where_there_are_items(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "dmix.cli.workflows.runs.evaluate.evaluate_models",
        lambda warehouse, *, run_id, steps, **_: asked.append((run_id, steps)),
    )
    runs = {"natural": [SimpleNamespace(run_id="natural-0", steps=8)]}
    files = SimpleNamespace(judging=tmp_path / "judging.yaml")
    judge_all(None, files, runs, progress=str)
    assert asked == []
    files.judging.touch()
    judge_all(None, files, runs, progress=str)
    assert asked == [("natural-0", ("0", "8"))]
