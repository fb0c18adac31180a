"""Simulated mixtures, their best, and fits that are made once."""

import numpy as np
import pytest

from dmix.mixing.regression.search import best_mixture, simulated_mixtures
from dmix.mixing.space.domains import DomainSpace

SPACE = DomainSpace(("a", "b"), np.array([30, 0, 50, 20]))


def test_simulated_mixtures_cover_all_target_shares_and_leave_empty_domains_out():
    found = simulated_mixtures(SPACE, number=2000, seed=0)
    assert found.shape == (2000, 4)
    assert found.sum(1) == pytest.approx(np.ones(2000))
    assert not found[:, 1].any()
    share = found[:, 2:].sum(1)
    assert (share.min() < 0.01, share.max() > 0.99) == (True, True)
    # around natural shares: 50 to 20 within the target
    assert (found[:, 2] / share).mean() == pytest.approx(5 / 7, abs=0.03)
    assert np.array_equal(found, simulated_mixtures(SPACE, number=2000, seed=0))


def test_best_mixture_is_the_mean_of_the_best():
    mixtures = np.array([[1.0, 0], [0, 1.0], [0.5, 0.5]])
    assert best_mixture(lambda m: m[:, 0], mixtures, averaged=2).tolist() == [0.75, 0.25]
    assert best_mixture(lambda m: m[:, 0], mixtures).tolist() == [0.5, 0.5]
