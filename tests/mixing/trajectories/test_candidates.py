"""Candidate laws: they are the laws they say, in shares, moments and masks."""

import numpy as np
import pytest
from scipy import stats

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.simplex import SMALLEST_WEIGHT
from dmix.mixing.trajectories.candidates import (
    HierarchicalDistribution,
    UniformDistribution,
    beta_half_quantile,
    mixture_of,
)


def draw(distribution, domains, count=20_000, seed=0):
    buffer = np.empty((domains, count), np.float32)
    distribution.fill(np.random.default_rng(seed), buffer)
    return buffer


@pytest.fixture
def space():
    """Three source domains and one empty, two target domains."""
    return DomainSpace(("a", "b", "c"), np.array([60, 30, 10, 75, 0, 25]))


def test_uniform_law_is_dirichlet_one():
    weights = np.exp(draw(UniformDistribution(), 4))
    assert weights.sum(0) == pytest.approx(np.ones(20_000), abs=1e-5)
    # a coordinate of Dirichlet(1) in 4 dimensions is Beta(1, 3)
    assert stats.kstest(weights[2], stats.beta(1, 3).cdf).pvalue > 0.01


def test_hierarchical_shares_follow_the_arcsine_law(space):
    weights = np.exp(draw(HierarchicalDistribution(space), 5))
    target = weights[3:].sum(0).astype(float)
    assert stats.kstest(target, stats.beta(0.5, 0.5).cdf).pvalue > 0.01


def test_hierarchical_composition_has_natural_means_within_fields(space):
    weights = np.exp(draw(HierarchicalDistribution(space), 5).astype(float))
    source, target = weights[:3] / weights[:3].sum(0), weights[3:] / weights[3:].sum(0)
    assert source.mean(1) == pytest.approx([0.6, 0.3, 0.1], abs=0.01)
    assert target.mean(1) == pytest.approx([0.75, 0.25], abs=0.01)


def test_hierarchical_composition_has_the_spread_of_its_mixture_of_kappas(space):
    weights = np.exp(draw(HierarchicalDistribution(space), 5).astype(float))
    share = weights[0] / weights[:3].sum(0)
    # Dirichlet(3 kappa (.6, .3, .1)): variance .6 * .4 / (3 kappa + 1), kappa log-uniform on [.5, 50]
    kappa = np.exp(np.linspace(np.log(0.5), np.log(50), 20_001))
    assert share.var() == pytest.approx((0.24 / (3 * kappa + 1)).mean(), rel=0.05)


def test_field_of_one_domain_gets_the_whole_share():
    distribution = HierarchicalDistribution(DomainSpace(("a",), np.array([3, 4])))
    assert distribution.mixtures(np.random.default_rng(0), np.array([0.25, 1.0])) == pytest.approx(
        np.array([[0.75, 0.25], [0.0, 1.0]]), abs=1e-7
    )


@pytest.mark.parametrize("domains", [2, 52])
def test_logarithms_are_finite_and_clipped(domains):
    logs = draw(UniformDistribution(), domains, seed=3)
    assert logs.min() >= np.float32(np.log(SMALLEST_WEIGHT))
    lopsided = DomainSpace(("a", "b"), np.array([10**7, 1, 10**7, 1]))
    logs = draw(HierarchicalDistribution(lopsided), 4)
    assert np.isfinite(logs).all()
    assert logs.min() == np.float32(np.log(SMALLEST_WEIGHT))


def test_mixture_of_is_normalised_in_float64():
    mixture = mixture_of(draw(UniformDistribution(), 52, count=1)[:, 0])
    assert mixture.dtype == np.float64
    assert mixture.sum() == pytest.approx(1, abs=1e-15)


def test_arcsine_quantiles():
    assert beta_half_quantile(np.array([0, 0.25, 0.5, 1])) == pytest.approx(
        stats.beta(0.5, 0.5).ppf([0, 0.25, 0.5, 1])
    )
