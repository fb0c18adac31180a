"""Scores on the scale on which gains add up, by hand and by sampling."""

import numpy as np
import pytest

from dmix.mixing.space.returns import Returns

RETURNS = Returns.of_scores(np.array([-1.0, -4.0]), 1.0)


def test_a_score_that_keeps_half_its_distance_has_gained_log_two_of_its_headroom():
    np.testing.assert_allclose(RETURNS.additive(np.array([-0.5, -2.0])), [-1 + np.log(2), -4 + 4 * np.log(2)])
    np.testing.assert_allclose(RETURNS.slope(RETURNS.additive(np.array([-0.5, -1.0]))), [0.5, 0.25])


def test_there_and_back():
    scores = np.array([-1.3, -2.2])
    back, _, _ = RETURNS.expected(RETURNS.additive(scores), np.zeros(2))
    np.testing.assert_allclose(back, scores)


def test_doubt_has_the_price_that_sampling_finds_and_derivatives_are_those_of_differences():
    mean, variance = np.array([-0.4, -3.0]), np.array([0.2, 1.5])
    draws = mean + np.sqrt(variance) * np.random.default_rng(0).standard_normal((200_000, 2))
    sampled = (
        RETURNS.first_D + (1 - np.exp(-(draws - RETURNS.first_D) * RETURNS.inverse_D)) / RETURNS.inverse_D
    ).mean(0)
    expected, by_mean, by_variance = RETURNS.expected(mean, variance)
    np.testing.assert_allclose(expected, sampled, rtol=5e-3)
    step = 1e-5
    np.testing.assert_allclose(
        (RETURNS.expected(mean + step, variance)[0] - expected) / step, by_mean, rtol=1e-3
    )
    np.testing.assert_allclose(
        (RETURNS.expected(mean, variance + step)[0] - expected) / step, by_variance, rtol=1e-3
    )


def test_endless_headroom_is_a_straight_line():
    straight = Returns.straight(np.array([-3.0]))
    assert straight.additive(np.array([5.0])) == pytest.approx([5.0])
    expected, slope, price = straight.expected(np.array([5.0]), np.array([9.0]))
    assert (expected, slope, price) == (5.0, 1.0, 0.0)


def test_missing_first_scores_and_scores_above_the_ceiling_stay_numbers():
    assert Returns.of_scores(np.array([np.nan]), 1.0).inverse_D == [0.0]
    assert np.isfinite(RETURNS.additive(np.array([0.5, 3.0]))).all()
