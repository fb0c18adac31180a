"""Statistics of the studies, against values worked by hand or by other code."""

import numpy as np
import pytest
from benchmarks.studies.statistics import (
    NONE,
    Interval,
    least_squares,
    mean_interval,
    pearson_interval,
    shown,
    spearman_interval,
    welch,
    wilson,
)
from scipy import stats


@pytest.mark.parametrize("successes", [0, 3, 8, 10])
def test_wilson_has_the_interval_of_the_score_test(successes):
    known = stats.binomtest(successes, 10).proportion_ci(0.95, method="wilson")
    found = wilson(successes, 10)
    assert (found.low, found.high) == pytest.approx((known.low, known.high), abs=1e-12)
    assert found.value == successes / 10 and wilson(0, 0) is NONE


def test_mean_and_difference_have_the_intervals_of_student_and_welch():
    rng = np.random.default_rng(0)
    first, second = rng.normal(1, 1, 12), rng.normal(0, 3, 7)
    low, high = stats.ttest_1samp(first, 0).confidence_interval()
    assert (mean_interval(first).low, mean_interval(first).high) == pytest.approx((low, high))
    low, high = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert (welch(first, second).low, welch(first, second).high) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("found", "value"),
    [
        (mean_interval(np.array([2.0])), 2.0),
        (welch(np.array([2.0]), np.array([1.0, 1.0])), 1.0),
        (pearson_interval(np.arange(3.0), np.array([0.0, 1.0, 5.0])), 0.945),
    ],
)
def test_too_few_rows_give_a_value_without_ends(found, value):
    assert found.value == pytest.approx(value, abs=1e-3) and np.isnan(found.low) and not found.excludes_0
    assert "[" not in shown(found)


def test_correlations_have_the_intervals_of_their_sources():
    first = np.arange(10.0)
    second = first.copy()
    second[[0, 9]] = second[[9, 0]]
    line, rank = pearson_interval(first, second), spearman_interval(first, second)
    low, high = stats.pearsonr(first, second).confidence_interval()
    assert (line.low, line.high) == pytest.approx((low, high))
    # ranks are the values, so both correlations are alike and Bonett and Wright's interval is the wider one
    assert rank.value == pytest.approx(line.value)
    half = 1.959964 * np.sqrt((1 + rank.value**2 / 2) / 7)
    assert rank.low == pytest.approx(np.tanh(np.arctanh(rank.value) - half), abs=1e-6)
    assert pearson_interval(first, np.ones(10)) is NONE and spearman_interval(np.ones(10), first) is NONE


def test_least_squares_finds_slope_interval_and_what_it_predicts_of_rows_left_out():
    rng = np.random.default_rng(1)
    x = rng.normal(size=20)
    y = 1 + 2 * x + rng.normal(size=20) / 2
    fit = least_squares(np.column_stack([np.ones(20), x]), y)
    known = stats.linregress(x, y)
    half = stats.t.ppf(0.975, 18) * known.stderr
    assert fit.coefficients[1].low == pytest.approx(known.slope - half)
    left = []
    for row in range(20):
        kept = np.arange(20) != row
        line = stats.linregress(x[kept], y[kept])
        left.append(y[row] - line.intercept - line.slope * x[row])
    assert fit.predicted == pytest.approx(1 - np.square(left).sum() / np.square(y - y.mean()).sum())
    assert least_squares(np.ones((5, 2)), np.arange(5.0)) is None


def test_an_interval_is_shown_with_its_ends_and_a_true_minus():
    assert shown(Interval(-0.5, -1.0, 0.25), sign=True) == "−0.50 [−1.00, +0.25]" and shown(NONE) == "–"
