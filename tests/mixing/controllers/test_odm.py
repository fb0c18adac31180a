"""EXP3 on training loss, worked by hand."""

import math

import numpy as np
import pytest

from dmix.mixing.controllers.odm import OdmController, exp3, exploration

NAN = math.nan


def test_exploration_is_an_even_share_until_pulls_outnumber_k_ln_k():
    # K = 2: sqrt(ln 2 / (2 * 8)) = 0.2081, and 1/2 until n = 2 ln 2 = 1.4
    assert exploration(8, arms=2) == pytest.approx(0.208139, abs=1e-6)
    assert exploration(1, arms=2) == exploration(0, arms=2) == 0.5
    assert exploration(10, arms=1) == 0


def test_policy_after_one_step_by_hand():
    # rewards: 4 pulls x 0.5 / 0.5 = 4 and 4 x 0.3 / 0.5 = 2.4; eps_7 = .222510, eps_8 = .208139
    ratio = math.exp(0.222510 * (4 - 2.4))
    wanted = (1 - 2 * 0.208139) * ratio / (1 + ratio) + 0.208139
    policy = exp3(np.array([[5.0, 3.0]]), np.array([[4, 4]]), np.array([[0.5, 0.5]]))
    assert policy == pytest.approx([wanted, 1 - wanted], abs=1e-6)
    assert wanted == pytest.approx(0.5515, abs=1e-4)


def test_an_arm_without_pulls_earns_nothing_and_keeps_the_floor():
    policy = exp3(np.array([[5.0, NAN]]), np.array([[1000, 0]]), np.array([[0.9, 0.1]]))
    assert policy[1] == pytest.approx(exploration(1000, arms=2), abs=1e-4)


def test_rare_arms_are_paid_by_what_they_were_drawn_from():
    # 10 of 100 pulls at policy .1 earn as much as 90 of 100 at policy .9
    policy = exp3(np.array([[3.0, 3.0]]), np.array([[90, 10]]), np.array([[0.9, 0.1]]))
    assert policy == pytest.approx([0.5, 0.5])


def test_first_step_is_even_over_active_domains(history):
    assert OdmController().propose(history(1)).mixture_N == pytest.approx([1 / 3, 0, 1 / 3, 1 / 3])


def test_the_domain_of_highest_loss_gets_most(history):
    even = [1 / 3, 0, 1 / 3, 1 / 3]
    seen = history(mixtures=[even] * 2, losses=[[2, NAN, 6, 4]] * 2, counts=[[100, 0, 100, 100]] * 2)
    mixture = OdmController().propose(seen).mixture_N
    assert mixture[1] == 0
    assert mixture[2] > mixture[3] > mixture[0] > 0


def test_losses_of_thousands_of_steps_do_not_overflow():
    losses, counts = np.tile([9.0, 1.0], (5000, 1)), np.full((5000, 2), 4000)
    policy = exp3(losses, counts, np.full((5000, 2), 0.5))
    assert np.isfinite(policy).all()
    assert policy[0] > 0.99
