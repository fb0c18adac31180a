"""Runs as the catalog has them: which are chosen, and their arrays."""

import numpy as np
import pytest
from tests.training.report.fixtures import add_run

from dmix.training.report.queries.run_facts import choose_runs, read_run, run_ids
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.events import EventLog

KNOWN = {"c": "guided", "p": "proxy", "b": "baseline", "base": "base", "a": "guided"}


@pytest.mark.parametrize(
    ("wanted", "limit", "chosen"),
    [
        ([], 9, ["a", "b", "c"]),
        ([], 2, ["b", "c"]),
        (["p", "a", "p"], 1, ["p", "a"]),
    ],
)
def test_named_runs_win_and_proxies_and_base_models_are_left_out(wanted, limit, chosen):
    assert choose_runs(KNOWN, wanted=wanted, limit=limit) == chosen


def test_base_models_are_taken_where_nothing_else_is():
    assert choose_runs({"x": "base", "p": "proxy"}, wanted=[], limit=9) == ["x"]
    assert choose_runs({}, wanted=[], limit=9) == []


def test_an_unknown_run_is_named_with_those_there_are():
    many = {f"r{number}": "guided" for number in range(23)}
    with pytest.raises(NotFoundError, match=r"'x' is not in the warehouse .* and 3 more"):
        choose_runs(many, wanted=["r1", "x"], limit=1)
    with pytest.raises(NotFoundError, match="none yet"):
        choose_runs({}, wanted=["x"], limit=1)


@pytest.fixture
def read(warehouse):
    def of(run_id):
        sync(warehouse)
        with Catalog.open_reader(warehouse) as catalog:
            assert run_id in run_ids(catalog)
            return read_run(catalog, run_id)

    return of


def test_arrays_hold_every_step_with_a_decision(warehouse, read):
    add_run(warehouse, "one", steps=3, finished=2, done=False)
    run = read("one")
    assert run.pairs[:2] == (("source", "News"), ("source", "Science & <b>Maths</b>"))
    assert run.steps_T.tolist() == [1, 2, 3] and run.asked_TN.shape == (3, 6)
    assert run.asked_TN.sum(axis=1) == pytest.approx(1) and run.planned_TN[1, 0] == 0
    # the third step is under way
    assert np.isfinite(run.samples_TN[:2]).all() and np.isnan(run.samples_TN[2]).all()
    assert run.samples_TN[:2].sum(axis=1).tolist() == [80, 80]
    assert run.tokens_TN[0].tolist() == (64 * run.samples_TN[0]).tolist()
    drawn = run.samples_TN[0] > 0
    assert run.loss_TN[0, drawn] == pytest.approx(3.0 - 0.1 / 3)
    assert run.scores["maths"] == ((0, -4.0), (1, -3.9), (2, -3.8))


def test_reasons_are_counted_over_steps(warehouse, read):
    add_run(warehouse, "one")
    (found,) = read("one").departures
    assert (found.field, found.domain, found.reason) == ("source", "News", "exhausted")
    assert (found.steps, found.first_step, found.last_step) == (1, 2, 2)


def test_a_run_that_only_started_has_no_steps(warehouse, read):
    log = EventLog(warehouse.run("new") / "events.jsonl", run_id="new", attempt=1)
    log.write("run_started", kind="guided", dataset="gone", controller="natural", config={}, space=[])
    run = read("new")
    assert (run.pairs, run.scores, run.departures, run.evaluations) == ((), {}, (), ())
    assert run.asked_TN.shape == (0, 0) and run.finished_at == ""
