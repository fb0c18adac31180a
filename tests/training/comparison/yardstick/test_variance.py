"""Variance components of a grid of scores, by hand and by simulation."""

import numpy as np
import pytest

from dmix.training.comparison.yardstick.variance import components, reliability_bound, scale

# mixtures x base models x seeds; cell means 1, 3 / 5, 11, seeds 1 apart from the mean of their cell
BY_HAND = np.array([[[0.0, 2.0], [2.0, 4.0]], [[4.0, 6.0], [10.0, 12.0]]])


def test_components_of_two_mixtures_two_bases_and_two_seeds():
    # mean squares: mixture 4 * (3^2 + 3^2) = 72, base 4 * (2^2 + 2^2) = 32,
    # interaction 2 * 4 * 1^2 = 8, seed 8 * 1 / 4 = 2
    found = components(BY_HAND)
    assert found.seed == pytest.approx(2)
    assert found.interaction == pytest.approx((8 - 2) / 2)
    assert found.mixture == pytest.approx((72 - 8) / 4)
    assert found.base == pytest.approx((32 - 8) / 4)
    assert found.reliability == pytest.approx(16 / 21)


def test_the_scale_is_the_deviation_without_base_means():
    # base means 3 and 7: deviations -3 -1 1 3 and -5 -3 3 5, 8 runs less 2 means
    assert scale(BY_HAND) == pytest.approx(np.sqrt((9 + 1 + 1 + 9 + 25 + 9 + 9 + 25) / 6))


def test_components_are_found_again_in_large_grids():
    rng = np.random.default_rng(0)
    m, b, s = 200, 20, 4
    scores = rng.normal(0, 2, (1, b, 1)) + rng.normal(0, 1, (m, 1, 1))
    scores = scores + rng.normal(0, 0.5, (m, b, 1)) + rng.normal(0, 0.25, (m, b, s))
    found = components(scores)
    assert [found.mixture, found.interaction, found.seed] == pytest.approx([1, 0.25, 0.0625], rel=0.2)


def test_pure_noise_is_refused_and_a_bound_is_below_its_value():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, (12, 2, 2))
    assert components(noise).reliability < 0.5
    clear = noise * 0.1 + rng.normal(0, 1, (12, 1, 1))
    found = components(clear).reliability
    assert found > 0.9
    assert reliability_bound(clear, rng=np.random.default_rng(0)) < found


def test_nothing_that_varies_has_no_reliability():
    assert components(np.zeros((3, 2, 2))).reliability == 0


@pytest.mark.parametrize("shape", [(1, 2, 2), (2, 1, 2), (2, 2, 1)])
def test_a_grid_needs_two_of_each(shape):
    with pytest.raises(ValueError, match="at least two of each"):
        components(np.zeros(shape))
