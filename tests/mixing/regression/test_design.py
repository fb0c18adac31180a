"""Mixtures that objectives are tried on, and that regressions learn from."""

import numpy as np
import pytest

from dmix.mixing.regression.design import design_mixtures, largest_shares, tilts
from dmix.mixing.space.domains import DomainSpace

SPACE = DomainSpace(tuple("abcd"), np.array([100, 50, 0, 50, 0, 30, 20, 0]))


def test_tilts_keep_the_natural_target_share_and_leave_empty_domains_out():
    found = tilts(SPACE, count=12, seed=0, largest_N=np.ones(8))
    assert found.shape == (12, 8)
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(SPACE.coarsen(found)[:, 1], 50 / 250)
    assert (found[:, ~SPACE.active_N] == 0).all() and (found[:, SPACE.active_N] > 0).all()
    assert np.log(found[:, 0] / found[:, 1]).std() > 0.7


def test_a_tilt_does_not_depend_on_how_many_there_are():
    few, many = (tilts(SPACE, count=n, seed=3, largest_N=np.ones(8)) for n in (2, 12))
    np.testing.assert_array_equal(few, many[:2])


def test_no_share_exceeds_the_supply():
    largest_N = largest_shares(SPACE, max_passes=1, run_samples=200)
    found = tilts(SPACE, count=50, seed=0, largest_N=largest_N)
    assert (found <= largest_N + 1e-12).all()
    np.testing.assert_allclose(SPACE.coarsen(found)[:, 1], 50 / 250)


def test_two_domains_get_target_shares_from_a_quarter_to_three_times_the_natural_one():
    space = DomainSpace(("all",), np.array([80, 20]))
    found = tilts(space, count=3, seed=0, largest_N=np.ones(2))
    assert found[:, 1] == pytest.approx([0.05, 0.2 * np.sqrt(0.75), 0.6])


def test_a_design_is_half_near_and_half_far_and_all_of_it_distinct():
    found = design_mixtures(SPACE, largest_N=np.ones(8))
    assert found.shape == (64, 8) and len(np.unique(found.round(9), axis=0)) == 64
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    shares = SPACE.coarsen(found)[:, 1]
    assert np.allclose(shares[:32], 0.2) and shares[32:].std() > 0.2
