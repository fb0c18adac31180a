"""Priors of worlds that were made by hand give back what they were made of."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.worlds.priors import WorldRuns, fit_priors, spread_of_slopes

from dmix.mixing.controllers.effect import TAUGHT
from dmix.mixing.effects.prediction import COUNTS_THAT_COME, DISTANCE
from dmix.mixing.space.simplex import kl
from dmix.training.comparison.effects.world_plans import PRIORS_FILE, read_priors
from dmix.warehouse_schema.errors import InputError

NATURAL_N = np.array([0.7, 0.3])
MIXTURES_PN = np.array([[0.6, 0.4], [0.8, 0.2], [0.5, 0.5]])
SCALES_D = np.array([0.1, 0.2])
# the part of its gains that a run has after each of eight steps, at a saturation of 3
CURVE_T = (1 - np.exp(-3 * np.arange(9) / 8)) / (1 - np.exp(-3))


def world(rng, *, beta=0.8, q=0.5, noise=0.0):
    promised_PD = rng.normal(0, 0.3, (3, 2))
    kl_P = np.array([kl(m, NATURAL_N) for m in MIXTURES_PN])
    gains_PD = beta * promised_PD - q * kl_P[:, None] * SCALES_D + rng.normal(0, noise, (3, 2)) * SCALES_D
    return WorldRuns(
        roles=("general", "target"),
        scales_D=SCALES_D,
        specs=("a", "b", "c"),
        mixtures_PN=MIXTURES_PN,
        natural_N=NATURAL_N,
        target_N=np.array([False, True]),
        promised_PD=promised_PD,
        linear_PD=rng.normal(0, 0.3, (3, 2)),
        gains_PD=gains_PD,
        natural_TD=-4 + CURVE_T[:, None] * [0.2, 0.8],
        rate_shares_M=np.full(8, 1 / 8),
    )


def test_exact_worlds_give_back_their_coefficients():
    rng = np.random.default_rng(0)
    found = fit_priors([world(rng) for _ in range(200)])
    assert found.beta == pytest.approx(0.8, abs=0.01)
    assert found.gamma == pytest.approx(0, abs=0.01)
    assert found.q == pytest.approx(0.5, abs=0.05)
    assert found.natural_gain == pytest.approx({"general": 2.0, "target": 4.0})
    assert (found.worlds, found.runs) == (200, 800)
    assert found.scale < 0.1
    # scores bend a little by themselves, since they cannot pass 0
    assert found.saturation == pytest.approx(3, abs=0.4)


def test_one_world_is_too_few():
    with pytest.raises(InputError, match="at least 2"):
        fit_priors([world(np.random.default_rng(0))])


@pytest.mark.parametrize("true", [0.0, 2.0])
def test_the_spread_of_slopes_is_that_of_the_worlds_not_of_their_noise(true):
    rng = np.random.default_rng(1)
    inputs = [rng.normal(0, 1, 6) * rng.uniform(0.001, 1) for _ in range(3000)]
    left = [rng.normal(0, true) * x + rng.normal(0, 0.5, 6) for x in inputs]
    assert spread_of_slopes(inputs, left, known=1.0) == pytest.approx(true, abs=0.15)


def test_worlds_whose_share_hardly_moved_leave_the_known_value():
    still, left = [np.full(4, 1e-3)] * 9, [np.array([0.6, 0.4, 0.5, -0.4])] * 9
    # their own slopes are 275
    assert spread_of_slopes(still, left, known=1.0) == pytest.approx(1, abs=0.01)
    assert spread_of_slopes([np.zeros(3)] * 2, [np.ones(3)] * 2, known=0.7) == 0.7


def test_shipped_numbers_are_those_of_the_fitting_worlds():
    priors = read_priors(Path(__file__).parents[3] / "benchmarks" / "quality" / "worlds" / PRIORS_FILE)
    assert (round(priors.beta, 2), round(priors.q, 2)) == (COUNTS_THAT_COME, DISTANCE)
    shipped = (TAUGHT.scale, TAUGHT.direction, TAUGHT.noise, TAUGHT.saturation)
    found = (priors.scale, priors.direction, priors.noise, priors.saturation)
    assert shipped == pytest.approx(found, abs=0.05)
