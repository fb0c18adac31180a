"""Intervals, tests, noise, and Pareto front against values worked by hand and known laws."""

import numpy as np
import pytest
from scipy import stats

from dmix.training.comparison.analysis.statistics import (
    Bootstrap,
    holm,
    pair_noise,
    pareto_front,
    stretched_interval,
    stretched_p,
)
from dmix.training.comparison.yardstick.variance import spearman

ONE = np.zeros(1, dtype=np.int64)


def simple(items, *, replicates=2_000, seed=0):
    return Bootstrap(np.zeros(items, dtype=np.int64), weight_D=np.ones(1), seed=seed, replicates=replicates)


def test_value_is_the_weighted_sum_of_objective_means():
    bootstrap = Bootstrap(np.array([0, 0, 1]), weight_D=np.array([0.5, 2.0]), seed=0)
    # seed 1: 0.5 * (1 + 3)/2 + 2 * 5 = 11; seed 2: 0.5 * (0 + 2)/2 + 2 * 4 = 8.5
    found = bootstrap.estimate(np.array([[1.0, 3.0, 5.0], [0.0, 2.0, 4.0]]))
    assert found.value == pytest.approx(9.75)
    assert (found.seeds, found.items) == (2, 3)


def test_objectives_without_weight_count_no_items():
    bootstrap = Bootstrap(np.array([0, 1, 1]), weight_D=np.array([1.0, 0.0]), seed=0)
    assert bootstrap.estimate(np.ones((2, 3))).items == 1


def test_one_seed_gives_a_value_without_interval():
    found = simple(3).estimate(np.array([[1.0, 2.0, 3.0]]))
    assert found.value == 2 and np.isnan([found.low, found.high, found.p]).all()
    assert found.verdict == "unknown"


def test_no_seeds_give_nan():
    assert np.isnan(simple(3).estimate(np.empty((0, 3))).value)


def test_objective_without_items_is_refused():
    with pytest.raises(ValueError, match=r"\[2, 0\] items, expected at least one each"):
        Bootstrap(np.array([0, 0]), weight_D=np.ones(2), seed=0)


def test_equal_controllers_tie_with_p_of_one():
    found = simple(4).estimate(np.zeros((5, 4)))
    assert (found.low, found.high, found.p, found.verdict) == (0, 0, 1, "tie")


def test_with_noise_of_seeds_alone_the_interval_is_nearly_students():
    values_S = np.random.default_rng(3).normal(size=20)
    found = Bootstrap(ONE, weight_D=np.ones(1), seed=0).estimate(values_S[:, None])
    students = stats.t.interval(0.95, 19, values_S.mean(), stats.sem(values_S))
    np.testing.assert_allclose((found.low, found.high), students, atol=0.05)
    assert found.p == pytest.approx(stats.ttest_1samp(values_S, 0).pvalue, abs=0.06)


def test_noise_of_items_alone_widens_the_interval_too():
    values_I = np.random.default_rng(4).normal(size=50)
    found = simple(50, replicates=10_000).estimate(np.tile(values_I, (20, 1)))
    width = 2 * 1.96 * values_I.std() / np.sqrt(50)
    assert width < found.high - found.low < 1.2 * width


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_of_few_seeds_hold_the_truth_as_often_as_they_say(seeds):
    rng = np.random.default_rng(seeds)
    held, plain = 0, 0
    for trial in range(300):
        values_SI = rng.normal(size=(seeds, 1)) + rng.normal(scale=0.3, size=(seeds, 4))
        bootstrap = simple(4, replicates=500, seed=trial)
        found = bootstrap.estimate(values_SI)
        held += found.low <= 0 <= found.high
        low, high = np.quantile(bootstrap._draws(values_SI), [0.025, 0.975])
        plain += low <= 0 <= high
    assert 0.92 <= held / 300 <= 0.99
    assert plain / 300 < 0.90  # what the stretch is for


def test_p_is_below_one_in_twenty_exactly_where_the_interval_excludes_zero():
    rng = np.random.default_rng(5)
    seen = set()
    for shift in np.linspace(-1, 1, 21):
        draws_B = shift + 0.3 * rng.gamma(2.0, size=2_000) - 0.6
        value = float(draws_B.mean())
        low, high = stretched_interval(draws_B, value=value, seeds=5)
        p = stretched_p(draws_B, value=value, seeds=5)
        excluded = low > 0 or high < 0
        assert excluded == (p < 0.05)
        seen.add(excluded)
    assert seen == {True, False}


def test_p_is_never_below_one_in_as_many_as_there_are_draws():
    assert stretched_p(np.full(100, 3.0), value=3.0, seeds=4) == 0.01


def test_same_seed_same_interval_whatever_was_estimated_before():
    values_SI = np.random.default_rng(6).normal(size=(4, 3))
    fresh, used = simple(3), simple(3)
    used.estimate(np.zeros((4, 3)) + np.arange(3))
    used.estimate(np.arange(6.0).reshape(2, 3))
    assert fresh.estimate(values_SI) == used.estimate(values_SI)


def test_contrast_resamples_the_seeds_of_both_sides():
    rng = np.random.default_rng(7)
    first_SI, second_RI = rng.normal(1, 1, size=(30, 1)), rng.normal(0, 1, size=(40, 1))
    found = Bootstrap(ONE, weight_D=np.ones(1), seed=0).contrast(first_SI, second_RI)
    low, high = stats.ttest_ind(first_SI[:, 0], second_RI[:, 0]).confidence_interval()
    assert found.value == pytest.approx(first_SI.mean() - second_RI.mean())
    np.testing.assert_allclose((found.low, found.high), (low, high), atol=0.08)
    assert found.seeds == 30


def test_holm_by_hand():
    # sorted .01 .03 .04: 3 * .01 = .03, 2 * .03 = .06, then 1 * .04 raised to .06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_holm_counts_hypotheses_that_are_still_open():
    adjusted = holm([0.02, float("nan")])
    assert adjusted[0] == pytest.approx(0.04) and np.isnan(adjusted[1])
    assert holm([]) == []


def test_pair_noise_is_the_deviation_of_the_differences():
    # differences 1, 3: deviation sqrt(2), although each controller varies far more
    values_CS = np.array([[10.0, 20.0, 7.0], [11.0, 23.0, np.nan]])
    assert pair_noise(values_CS) == pytest.approx(np.sqrt(2))


def test_pair_noise_needs_two_shared_seeds():
    assert np.isnan(pair_noise(np.array([[1.0, np.nan], [np.nan, 2.0]])))
    assert np.isnan(pair_noise(np.array([[1.0, 2.0]])))


def test_pareto_front_by_hand():
    cost_C = np.array([1.0, 2.0, 3.0, 2.0, 2.0, np.nan])
    value_C = np.array([1.0, 3.0, 2.0, 3.0, 0.5, 9.0])
    # the third is dearer and worse than the second; equal points stay together; NaN is nowhere
    assert pareto_front(cost_C, value_C).tolist() == [True, True, False, True, False, False]


def test_spearman_agrees_with_scipy_where_there_are_ties():
    first_K, second_K = np.array([1.0, 2.0, 2.0, 5.0]), np.array([3.0, 1.0, 4.0, 4.0])
    assert spearman(first_K, second_K) == pytest.approx(stats.spearmanr(first_K, second_K).statistic)
    assert spearman(first_K, np.ones(4)) == 0
