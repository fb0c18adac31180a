"""What became of an item: values and errors for people are outcomes, anything else is raised."""

import gc
import sys
import types

import pytest

from dmix.etl.spark import outcomes
from dmix.etl.spark.outcomes import Outcome, outcome, spare_imports
from dmix.warehouse_schema.errors import InputError


def test_a_value_becomes_json():
    assert outcome(lambda item: {"twice": 2 * item}, 3) == Outcome(None, '{"twice": 6}')


def test_an_error_for_people_is_an_outcome_and_another_is_not():
    def fail(error):
        raise error

    assert outcome(fail, InputError("no such column")) == Outcome("InputError", "no such column")
    with pytest.raises(KeyError):
        outcome(fail, KeyError("defect"))


def test_imports_are_spared_once(monkeypatch):
    calls = []
    monkeypatch.setattr(gc, "freeze", lambda: calls.append("freeze"))
    monkeypatch.setattr(gc, "collect", lambda: calls.append("collect"))
    monkeypatch.setattr(outcomes, "_imported", len(sys.modules))
    spare_imports()
    assert calls == []
    monkeypatch.setitem(sys.modules, "a_new_module", types.ModuleType("a_new_module"))
    spare_imports()
    spare_imports()
    assert calls == ["collect", "freeze"]
