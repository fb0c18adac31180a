"""The end of a run: facts, a row for each objective, and what comes after it."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.cli.show import run_end
from dmix.cli.workflows.runs import finish
from dmix.cli.workflows.runs.finish import finish_run
from dmix.warehouse_schema.catalog import sync
from dmix.warehouse_schema.errors import CatalogError, LockHeldError


def summary(**changes):
    values = {
        "run_id": "r",
        "kind": "guided",
        "finished": True,
        "objectives": ("maths",),
        "feedback_TD": np.array([[-3.0], [-2.5]]),
        "steps": 4,
        "tokens": 1000,
        "source_tokens": 250,
        "loss": 2.0,
        "ending": "steps done",
        "to_json": lambda: {"run_id": "r"},
    }
    return SimpleNamespace(**values | changes)


@pytest.fixture
def after(monkeypatch):
    """What comes after the run; may be an error."""
    found = SimpleNamespace(
        utility=0.5,
        verdicts={"maths": SimpleNamespace(word="better")},
        word=lambda name: "better",
        lines=["next: report"],
    )
    monkeypatch.setattr(sync, "sync_at_end", lambda *_, **__: None)

    def set_to(value=found):
        def aftermath(*_, **__):
            if isinstance(value, Exception):
                raise value
            return value

        monkeypatch.setattr(run_end, "aftermath", aftermath)

    set_to()
    return set_to


def test_facts_hold_utility_and_verdicts(after):
    result = finish_run(None, summary(), progress=str)
    assert result.facts == {"run_id": "r", "utility": 0.5, "verdicts": {"maths": "better"}}
    said = repr(result)
    assert "4 steps, 1,000 tokens (250 from the source), loss 2.000" in said and "next: report" in said
    assert "nothing was trained" not in said
    assert list(result.df()["change"]) == [0.5]


def test_a_run_that_was_finished_already_says_so(after):
    assert "nothing was trained" in repr(finish_run(None, summary(), trained=False, progress=str))


@pytest.mark.parametrize("error", [LockHeldError("held"), CatalogError("gone"), IndexError()])
def test_a_catalog_that_cannot_tell_costs_the_verdict_alone(after, error):
    after(error)
    result = finish_run(None, summary(), progress=str)
    assert (result.facts["utility"], result.facts["verdicts"]) == (None, {})


def test_an_unfinished_run_has_no_aftermath(after):
    after(AssertionError("it was asked for"))
    assert finish_run(None, summary(finished=False), progress=str).facts["utility"] is None


def test_a_run_without_objectives_has_no_table(after):
    after(None)
    result = finish_run(None, summary(objectives=(), feedback_TD=np.zeros((2, 0))), progress=str)
    assert result.tables == []


def test_other_ranks_say_nothing(after, monkeypatch):
    monkeypatch.setattr(finish, "rank_here", lambda: 1)
    assert finish_run(None, summary(), progress=str) is None
