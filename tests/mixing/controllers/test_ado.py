"""Scaling laws fitted in a run, and the policy made of them."""

import math

import numpy as np
import pytest

from dmix.mixing.controllers.ado import (
    EXPONENTS_G,
    AdoController,
    credits,
    fit_laws,
    preference,
)

NAN = math.nan
SAMPLES = np.array([10.0, 30.0, 50.0, 70.0, 90.0])


def test_a_law_that_generated_the_losses_is_found_again():
    exponent = EXPONENTS_G[5]  # 0.3
    losses = np.stack([1.5 + 4 * SAMPLES**-exponent, 0 + 7 * SAMPLES**-0.8], axis=1)
    laws = fit_laws(SAMPLES, losses)
    assert laws.floor_TN[-1] == pytest.approx([1.5, 0], abs=1e-6)
    assert laws.scale_TN[-1] == pytest.approx([4, 7], rel=1e-6)
    assert laws.exponent_TN[-1] == pytest.approx([0.3, 0.8])
    # -dL/dn at n = 100: 0.3 * 4 * 100^-1.3
    assert laws.slope(np.full(5, 100.0))[-1, 0] == pytest.approx(1.2 * 100**-1.3, rel=1e-6)


def test_two_losses_are_no_law_and_missing_ones_do_not_count():
    losses = np.array([[3.0, 3.0], [2.5, NAN], [2.2, 2.5], [2.0, NAN], [1.9, NAN]])
    laws = fit_laws(SAMPLES, losses)
    assert np.isnan(laws.scale_TN[:2]).all()
    assert np.isfinite(laws.scale_TN[2:, 0]).all()
    assert np.isnan(laws.scale_TN[:, 1]).all()


def test_each_fit_knows_the_losses_up_to_its_step_alone():
    losses = (1 + 3 * SAMPLES**-0.5)[:, None]
    whole = fit_laws(SAMPLES, losses)
    part = fit_laws(SAMPLES[:4], losses[:4])
    for full, cut in zip(whole, part, strict=True):
        np.testing.assert_array_equal(full[:4], cut)


def test_a_loss_that_rises_has_a_flat_law():
    laws = fit_laws(SAMPLES, np.array([[1.0], [1.2], [1.3], [1.4], [1.5]]))
    assert laws.scale_TN[-1, 0] == 0
    assert laws.floor_TN[-1, 0] == pytest.approx(1.28)


def test_credit_by_hand():
    found = credits(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.5, 0.5]))
    assert found == pytest.approx(np.array([[0.55, 0.45], [0.495, 0.505]]))


def test_preference_by_hand():
    # 0.5 * sqrt(.25) * 3 = .75 and 0.5 * sqrt(.75) * 1 = .4330
    found = preference(np.array([3.0, 1.0]), np.array([0.25, 0.75]), np.array([0.5, 0.5]))
    assert found == pytest.approx([0.634, 0.366], abs=1e-4)
    # an unknown slope counts as the mean of the others, an empty domain gets nothing
    prior = np.array([0.25, 0.25, 0.5, 0])
    found = preference(np.array([1.0, 3.0, NAN, NAN]), np.ones(4), prior)
    assert found == pytest.approx([0.125, 0.375, 0.5, 0])


def test_preference_keeps_a_least_share_and_the_prior_where_nothing_learns():
    prior = np.array([0.5, 0.5])
    assert preference(np.array([1.0, 0.0]), np.ones(2), prior) == pytest.approx([1 / 1.01, 0.01 / 1.01])
    assert preference(np.zeros(2), np.ones(2), prior) is prior


def run_of(steps, space):
    """Mixtures, losses and counts of steps on natural shares; the last domain learns fastest."""
    middles = 100 * np.arange(steps) + 50.0
    losses = np.stack(
        [np.full(steps, 3.0), np.full(steps, NAN), 2 + middles**-0.2, 2 + 9 * middles**-0.4], axis=1
    )
    return {"mixtures": [space.natural_N] * steps, "losses": losses, "counts": [[30, 0, 50, 20]] * steps}


def test_prior_for_three_steps_then_more_of_what_learns(history, space):
    controller = AdoController()
    for steps in (0, 1, 2):
        seen = history(1) if not steps else history(**run_of(steps, space))
        np.testing.assert_array_equal(controller.propose(seen).mixture_N, space.natural_N)
    fourth = controller.propose(history(**run_of(3, space))).mixture_N
    later = controller.propose(history(**run_of(20, space))).mixture_N
    assert later[3] > fourth[3] > space.natural_N[3]
    assert later[0] < fourth[0] < space.natural_N[0]
    # a tenth of the new preference at first, the rest is the prior
    assert abs(fourth - space.natural_N).sum() / 2 <= 0.1


def test_the_average_is_over_the_prior_and_earlier_preferences(history, space):
    seen = history(**run_of(5, space))
    laws = fit_laws(100 * np.arange(5) + 50.0, seen.losses_TN[1:])
    slope = laws.slope(100.0 * np.arange(1, 6))
    shares = credits(seen.mixtures_TN[1:], space.natural_N)
    first, second, third = (preference(slope[i], shares[i], space.natural_N) for i in (2, 3, 4))
    # decisions of steps 4 and 5 after three of the prior alone
    wanted = 0.1 * third + 0.9 * (3 * space.natural_N + first + second) / 5
    assert AdoController().propose(seen).mixture_N == pytest.approx(wanted)
