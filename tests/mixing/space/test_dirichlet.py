"""The distribution of the policy: divergences by hand, closed forms, and gradients of samples."""

import math

import pytest
import torch
from torch.distributions import Dirichlet

from dmix.mixing.space.dirichlet import (
    CONCENTRATION_RANGE,
    MixtureDistribution,
    bounded_concentration,
    uniform_mixtures,
)


def mask(domains, active):
    return torch.arange(domains) < active


@pytest.mark.parametrize(("domains", "active"), [(2, 2), (6, 6), (6, 4), (52, 52), (52, 25)])
def test_dirichlet_of_ones_is_the_uniform_distribution(domains, active):
    distribution = MixtureDistribution(torch.ones(3, active, dtype=torch.float64), mask(domains, active))
    torch.testing.assert_close(distribution.divergence_from_uniform(), torch.zeros(3, dtype=torch.float64))
    mixtures = uniform_mixtures((3, 5), mask(domains, active), dtype=torch.float64)
    torch.testing.assert_close(mixtures.sum(-1), torch.ones(3, 5, dtype=torch.float64))
    assert not mixtures[..., ~mask(domains, active)].any()


def test_divergence_of_beta_3_2_by_hand():
    # 12 x^2 (1 - x); E ln x = -(1/3 + 1/4) and E ln(1 - x) = -(1/2 + 1/3 + 1/4): ln 12 - 14/12 - 13/12
    distribution = MixtureDistribution(torch.tensor([3.0, 2.0], dtype=torch.float64), mask(2, 2))
    assert distribution.divergence_from_uniform().item() == pytest.approx(math.log(12) - 2.25)


def test_divergence_is_the_mean_log_density_of_samples():
    torch.manual_seed(0)
    parameters = torch.tensor([4.0, 1.5, 0.7], dtype=torch.float64)
    distribution = MixtureDistribution(parameters, mask(3, 3))
    # the uniform density on three domains is Gamma(3) = 2
    mean = Dirichlet(parameters).log_prob(distribution.sample(40_000)).mean() - math.log(2)
    assert mean.item() == pytest.approx(distribution.divergence_from_uniform().item(), abs=0.02)


def test_parameters_are_concentration_times_mean_plus_a_thousandth():
    distribution = MixtureDistribution.of_mean(torch.tensor([0.25, 0.0, 0.75]), torch.tensor(8.0), mask(3, 3))
    torch.testing.assert_close(distribution.parameters, torch.tensor([2.001, 0.001, 6.001]))


def test_concentration_stays_within_5_and_2000():
    bounds = bounded_concentration(torch.tensor([-50.0, 0.0, 50.0]))
    torch.testing.assert_close(bounds, torch.tensor([5.0, 100.0, 2000.0]))
    assert CONCENTRATION_RANGE == (5.0, 2000.0)


def test_masked_domains_get_no_weight():
    torch.manual_seed(0)
    active_N = torch.tensor([True, False, True, True])
    distribution = MixtureDistribution.of_mean(
        torch.tensor([[0.5, 0.0, 0.2, 0.3]]), torch.tensor([20.0]), active_N
    )
    drawn = distribution.sample(7)
    assert drawn.shape == (1, 7, 4)
    assert (drawn[..., 1] == 0).all()
    torch.testing.assert_close(drawn.sum(-1), torch.ones(1, 7))


@pytest.mark.parametrize("concentration", [5.0, 100.0, 2000.0])
def test_gradients_of_samples_match_finite_differences_of_the_expectation(concentration):
    """E[x_0^2 + 2 x_1] of a Dirichlet is a_0 (a_0 + 1) / (A (A + 1)) + 2 a_1 / A."""

    def expectation(parameters):
        total = parameters.sum()
        return (
            parameters[0] * (parameters[0] + 1) / (total * (total + 1)) + 2 * parameters[1] / total
        ).item()

    torch.manual_seed(0)
    parameters = (concentration * torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)).requires_grad_()
    drawn = MixtureDistribution(parameters, mask(3, 3)).sample(100_000)
    (drawn[:, 0] ** 2 + 2 * drawn[:, 1]).mean().backward()
    step = 1e-4 * concentration
    for index in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[index] = step
        with torch.no_grad():
            slope = (expectation(parameters + shift) - expectation(parameters - shift)) / (2 * step)
        assert parameters.grad[index].item() == pytest.approx(slope, rel=0.03, abs=0.003 / concentration)
