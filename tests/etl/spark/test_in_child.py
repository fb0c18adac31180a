"""What ends a process is an outcome, and nothing of the parent's."""

import faulthandler
import os
import signal

import pytest

from dmix.etl.spark.in_child import in_child
from dmix.warehouse_schema.errors import InputError


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
