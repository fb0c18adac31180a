import json
from datetime import UTC, datetime, timedelta

import pytest

from dmix.warehouse_schema.catalog.run_facts import fold_events, run_status, utc
from dmix.warehouse_schema.files.events import read_events

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def run(warehouse, run_writer):
    return run_writer(warehouse)


def facts(run):
    return fold_events(run.run_id, read_events(run.path))


def test_a_run_without_a_start_has_no_rows():
    assert fold_events("r", []).tables() == {
        "runs": [],
        "run_steps": [],
        "run_feedback": [],
        "run_events": [],
    }


def test_a_decided_step_has_no_delivery_yet(run):
    run.start().decide(1)
    [step] = facts(run).steps
    assert step["planned_samples"] == [6, 2, 0, 2]
    assert step["reasons"] == ["field exhausted", None, None, None]
    assert step["delivered_samples"] is None and step["finished_at"] is None


def test_the_last_line_of_a_step_and_kind_holds(run):
    run.start().decide(1, asked=(1, 0, 0, 0)).decide(1).score(0, -6.0).score(0, -5.0)
    found = facts(run)
    assert found.steps[0]["asked"] == [0.5, 0.3, 0.0, 0.2]
    assert [row["score"] for row in found.feedback] == [-5.0]


def test_resuming_voids_the_steps_after_the_checkpoint(run):
    run.start().score(0, -5.0)
    for step in (1, 2, 3):
        run.decide(step).note(step, "guard", f"first {step}").finish_step(step).score(step, -step)
    run.start(attempt=2, resumed_from_step=1)
    found = facts(run)
    assert [row["step"] for row in found.steps] == [1]
    assert [row["step"] for row in found.feedback] == [0, 1]
    assert [(row["kind"], row["step"]) for row in found.events] == [
        ("run_started", None), ("guard", 1), ("run_started", None)
    ]  # fmt: skip
    assert found.run["attempt"] == 2


def test_a_replayed_decision_counts_with_the_new_result(run):
    run.start().decide(1).finish_step(1).decide(2, asked=(0, 1, 0, 0)).finish_step(2)
    run.start(attempt=2, resumed_from_step=1).finish_step(2, delivered=(1, 2, 3, 4))
    _, second = facts(run).steps
    assert second["asked"] == [0, 1, 0, 0]
    assert (second["delivered_samples"], second["attempt"]) == ([1, 2, 3, 4], 2)


def test_a_decision_that_is_written_again_counts_before_its_step_ends(run):
    run.start().decide(1).finish_step(1)
    run.start(attempt=2, resumed_from_step=0).decide(1, asked=(0, 0, 1, 0))
    [step] = facts(run).steps
    assert (step["asked"], step["delivered_samples"], step["attempt"]) == ([0, 0, 1, 0], None, 2)


def test_decisions_after_the_end_of_a_shorter_second_attempt_are_gone(run):
    run.start().decide(1).finish_step(1).decide(2).finish_step(2).decide(3)
    run.start(attempt=2, resumed_from_step=1).decide(2).finish_step(2).end(2)
    assert [row["step"] for row in facts(run).steps] == [1, 2]


def test_a_resume_after_a_failure_is_running_again(run):
    run.start().end(0, "run_failed")
    assert facts(run).run["status"] == "failed"
    run.start(attempt=2, resumed_from_step=0)
    assert facts(run).run["status"] == "running"
    assert facts(run).run["finished_at"] is None
    run.end(1)
    assert facts(run).run["status"] == "done"
    assert facts(run).run["finished_at"] == facts(run).run["last_event_at"]


def test_a_run_that_a_signal_stopped_is_stopped_until_it_resumes(run):
    run.start(pid=2**22 + 1).end(1, "run_stopped")
    assert facts(run).run["status"] == "stopped"
    run.start(attempt=2, resumed_from_step=1)
    assert facts(run).run["status"] == "running"


def test_a_run_whose_process_is_gone_is_stale(run):
    run.start(pid=2**22 + 1)
    assert facts(run).run["status"] == "stale"


def test_a_run_on_another_host_is_stale_after_a_day_of_silence():
    start = {"event": "run_started", "host": "elsewhere", "pid": 1, "time": NOW.isoformat()}
    assert run_status(start, None, start, now=NOW + timedelta(hours=23)) == "running"
    assert run_status(start, None, start, now=NOW + timedelta(hours=25)) == "stale"


def test_nan_in_a_configuration_becomes_null(run):
    run.start(config={"lr": float("nan"), "list": [1.5, float("inf")]})
    assert json.loads(facts(run).run["config"]) == {"lr": None, "list": [1.5, None]}


def test_details_that_are_not_text_are_json(run):
    run.start().note(1, "guard", {"floor": 0.1})
    assert [json.loads(row["detail"]) for row in facts(run).events][1] == {"floor": 0.1}


def test_times_are_stored_in_utc():
    assert utc("2026-01-02T03:00:00+02:00") == datetime(2026, 1, 2, 1)
    assert utc("2026-01-02T03:00:00") == datetime(2026, 1, 2, 3)
    assert utc(None) is None
