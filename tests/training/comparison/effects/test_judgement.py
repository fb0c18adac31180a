"""Promised against real gains, from stored rows written by hand."""

import numpy as np
import pytest
from tests.training.comparison.effects.stored_runs import stored

from dmix.training.comparison.effects.judgement import (
    UTILITY,
    equal_sum,
    judge,
)


def by_estimator(found, objective, *, layer="confirmation"):
    return {row.estimator: row for row in found if (row.objective, row.layer) == (objective, layer)}


def test_a_promise_that_is_kept_has_rank_correlation_and_slope_one():
    counts = by_estimator(judge(stored()), "learnt")["counts"]
    assert counts.spearman == pytest.approx(1)
    # natural runs are 0.001, -0.001, 0.001 off: their mean shifts every gain by 0.0003
    assert counts.slope == pytest.approx(1, abs=0.01)
    assert counts.noise == pytest.approx(np.std([1, -1, 1], ddof=1) * 0.001)
    assert (counts.mixtures, counts.natural_runs) == (12, 3)


def test_a_promise_turned_round_spoils_its_objective_and_the_utility():
    found = judge(stored(wrong=-1.0))
    assert by_estimator(found, "learnt")["counts"].spearman == pytest.approx(-1)
    assert by_estimator(found, "kept")["counts"].spearman == pytest.approx(1)
    assert by_estimator(found, UTILITY)["counts"].spearman < 0.9


def test_probes_join_when_all_are_done_and_teach_the_coefficients():
    found = by_estimator(judge(stored(probes=True, wrong=0.25)), "learnt")
    assert set(found) == {"counts", "probe", "counts + probe", "counts + probe, fitted to probes"}
    assert found["probe"].spearman > 0.95
    # four times too small, as the probes show; the ridge holds it a little
    assert found["counts"].slope == pytest.approx(4, abs=0.05)
    assert found["counts + probe, fitted to probes"].slope == pytest.approx(1, abs=0.2)
    less = stored(probes=True)
    less.tables["runs"].pop()
    assert "probe" not in by_estimator(judge(less), "learnt")


def test_nothing_is_judged_before_a_few_runs_are_done():
    assert judge(stored(fresh=2)) == []
    assert judge(stored(natural=1)) == []


def test_two_promises_count_alike_whatever_their_units():
    first_MD = np.array([[1.0], [2.0], [3.0]])
    other_MD = np.array([[100.0], [0.0], [200.0]])
    sum_MD = equal_sum(first_MD, other_MD)
    np.testing.assert_allclose((sum_MD - first_MD).std(0), first_MD.std(0))
    np.testing.assert_allclose(equal_sum(first_MD, np.zeros((3, 1))), first_MD)
