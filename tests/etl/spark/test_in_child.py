"""What ends a process is an outcome, and nothing of the parent's."""

import faulthandler
import os
import signal

import pytest

from dmix.etl.spark.executors import OnSpark, outcome_in_child, workers_crashed
from dmix.etl.spark.in_child import in_child
from dmix.etl.spark.outcomes import WORKER_DIED, Outcome, outcome
from dmix.warehouse_schema.errors import ClusterError, InputError


def test_value_and_error_of_a_child_come_back():
    parent = os.getpid()
    ended = in_child(os.getpid)
    assert ended.value not in (None, parent)

    def refuse():
        raise InputError("no")

    assert isinstance(in_child(refuse).error, InputError)


def test_a_child_that_leaves_without_an_answer_has_crashed():
    ended = in_child(lambda: os._exit(3))
    assert (ended.exit_code, ended.crashed) == (3, True)


def test_an_error_that_cannot_be_pickled_comes_back_as_its_words():
    class LocalError(Exception):
        pass

    def refuse():
        raise LocalError("of here")

    assert str(in_child(refuse).error) == "LocalError: of here"


@pytest.mark.parametrize(
    ("number", "crashed"), [(signal.SIGABRT, True), (signal.SIGSEGV, True), (signal.SIGKILL, False)]
)
def test_signals_that_a_process_gets_for_what_it_does_are_crashes(number, crashed):
    ended = in_child(lambda: (faulthandler.disable(), os.kill(os.getpid(), number)))
    assert (ended.ended_by, ended.crashed) == (number, crashed)


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
