"""Where tasks run."""

import faulthandler
import os
import signal

import pytest

from dmix.etl.spark import session
from dmix.etl.spark.executors import Automatic, OnSpark, outcome_in_child, workers_crashed
from dmix.etl.spark.outcomes import WORKER_DIED, Outcome, outcome
from dmix.etl.spark.tasks import completed_tasks, run_tasks
from dmix.warehouse_schema.errors import ClusterError


def test_results_stand_in_the_order_of_the_items(executor):
    assert run_tasks(executor, lambda item: {"twice": 2 * item}, [3, 1, 2]) == [
        {"twice": 6},
        {"twice": 2},
        {"twice": 4},
    ]


@pytest.mark.parametrize(
    ("master", "size_bytes", "starts"),
    [(None, 5, "WorkerPool"), (None, 6, "Spark"), ("", 5, "WorkerPool"), ("local[7]", 0, "Spark")],
)
def test_a_named_master_or_a_large_input_means_spark(monkeypatch, master, size_bytes, starts):
    asked = []
    monkeypatch.setattr(session, "spark_session", lambda **named: asked.append(named["master"]) or "session")
    executor = Automatic(master=master, in_process_bytes=5)
    chosen = executor.chosen(size_bytes)
    assert type(chosen).__name__ == {"Spark": "OnSpark"}.get(starts, starts)
    assert asked == ([master or "local[*,3]"] if starts == "Spark" else [])
    assert type(executor.chosen(0)) is type(chosen)  # a session that is there is used for all


def test_finished_tasks_of_no_job_are_none(spark):
    assert completed_tasks(spark) == 0


def test_sessions_without_a_context_tell_no_finished_tasks():
    assert completed_tasks(object()) == 0


def abort_or_answer(item):
    if item == "bad":
        faulthandler.disable()
        os.abort()
    return item


def test_an_item_that_aborts_is_an_outcome_and_the_others_are_done():
    assert outcome_in_child(abort_or_answer, "good") == Outcome(None, '"good"')
    assert outcome_in_child(abort_or_answer, "bad") == Outcome(WORKER_DIED, "by SIGABRT")


def test_a_process_that_is_killed_from_outside_is_no_fault_of_its_item():
    with pytest.raises(ClusterError, match=r"SIGKILL.*memory"):
        outcome_in_child(lambda item: os.kill(os.getpid(), signal.SIGKILL), "x")


def test_after_a_crash_under_spark_every_item_is_tried_in_a_child(monkeypatch):
    tried = []

    def run(self, task, items, *, of):
        tried.append(of)
        if of is outcome:
            raise ClusterError("Spark gave up") from RuntimeError(
                "Python worker exited unexpectedly (crashed)"
            )
        return [of(task, item) for item in items]

    monkeypatch.setattr(OnSpark, "_run", run)
    on_spark = OnSpark(None)
    for _ in range(2):
        found = on_spark.run(abort_or_answer, ["good", "bad", "fine"])
        assert [one.error for one in found] == [None, WORKER_DIED, None]
    assert tried == [outcome, outcome_in_child, outcome_in_child]


def test_other_ends_of_spark_are_passed_on(monkeypatch):
    def refuse(self, task, items, *, of):
        raise ClusterError("no Spark answers")

    monkeypatch.setattr(OnSpark, "_run", refuse)
    with pytest.raises(ClusterError, match="no Spark answers"):
        OnSpark(None).run(abort_or_answer, ["good"])
    assert not workers_crashed(ClusterError("no Spark answers"))
