"""Mixtures that rivals of the third protocol learn from."""

import numpy as np
import pytest
from tests.training.comparison.rivals.cell_rows import SETTINGS, SPACE

from dmix.training.comparison.effects.design import mixture_of
from dmix.training.comparison.yardstick.designs import design_mixture, grid_shares, target_mixture


def test_the_first_half_of_the_design_begins_with_the_tilts_of_the_yardstick():
    for number in range(12):
        tilt_N = mixture_of(f"tilt:{number}/12", SETTINGS, SPACE)
        np.testing.assert_array_equal(design_mixture(number, SETTINGS, SPACE, count=64), tilt_N)
    far_N = mixture_of("design:40/64", SETTINGS, SPACE)
    target = SPACE.natural_N[SPACE.target_N].sum()
    assert far_N.sum() == pytest.approx(1) and abs(far_N[SPACE.target_N].sum() - target) > 1e-3


def test_a_target_share_keeps_natural_shares_within_each_field():
    mixture_N = target_mixture(0.5, SPACE)
    assert mixture_N[SPACE.target_N].sum() == pytest.approx(0.5)
    for own_N in (SPACE.target_N, ~SPACE.target_N):
        within_N, natural_N = mixture_N[own_N], SPACE.natural_N[own_N]
        np.testing.assert_allclose(within_N / within_N.sum(), natural_N / natural_N.sum())


def test_the_grid_goes_from_half_the_natural_share_to_what_the_supply_allows():
    shares = grid_shares(SETTINGS, SPACE, count=5)
    natural = SPACE.natural_N[SPACE.target_N].sum()
    most = SETTINGS.max_passes * SPACE.samples_N[SPACE.target_N].sum() / SETTINGS.run_samples
    assert shares[0] == pytest.approx(natural / 2, abs=1e-4)
    assert shares[-1] == pytest.approx(min(0.75, most), abs=1e-4)
    assert shares == sorted(set(shares))
    mixture_N = mixture_of(f"grid:{shares[2]}", SETTINGS, SPACE)
    assert mixture_N[SPACE.target_N].sum() == pytest.approx(shares[2])
