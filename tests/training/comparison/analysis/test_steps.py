"""The comparison at the step where the first run stopped."""

import pytest
from tests.training.comparison.generated_results import results_below, three_controllers

from dmix.training.comparison.analysis import tables
from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.steps import earliest_stop, mean_steps

make_results = pytest.fixture(results_below)
evidence = pytest.fixture(three_controllers)


def test_earliest_stop_compares_where_all_still_ran(make_results):
    results = make_results()
    for seed in range(2):
        results.add("long", seed=seed, gains=(0, 0.4), steps=4)
        results.add("short", seed=seed, gains=(0, 0.4), steps=2)
    evidence = read_evidence(results.write())
    stop = earliest_stop(evidence, "screening")
    # the generator's utility rises by a quarter of the final one a step
    assert stop.step == 2
    assert [(row.controller, row.utility.value) for row in stop.rows] == [
        ("long", pytest.approx(0.5)),
        ("short", pytest.approx(0.5)),
    ]
    assert stop.rows[0].difference.verdict == "tie"
    assert "| `long` | 0.500 [0.500, 0.500] |" in tables.early_table(stop)
    assert mean_steps(evidence, "screening")["short"] == ([0, 1, 2], pytest.approx([0, 0.25, 0.5]))


def test_no_earliest_stop_where_all_runs_are_as_long(evidence):
    assert earliest_stop(evidence, "screening") is None
