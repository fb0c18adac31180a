"""A linear mixing law from the history of a run."""

import itertools
import math

import numpy as np
import pytest

from dmix.mixing.controllers.aioli import TILT, AioliController, ascend, estimate, tilt

NAN = math.nan


def losses_under(law, mixtures):
    """Losses of step middles when half of each of two steps lies between them."""
    losses = [np.array([5.0, 6.0])]
    for before, after in itertools.pairwise(mixtures):
        losses.append(losses[-1] - law @ (before + after) / 2)
    return np.array(losses)


def test_one_difference_says_that_all_domains_help_alike():
    mixtures = np.array([[0.5, 0.5], [0.5, 0.5]])
    law = estimate(mixtures, np.array([[3.0, 2.0], [2.9, 1.8]]))
    assert law == pytest.approx(np.array([[0.1, 0.1], [0.2, 0.2]]))


def test_ridge_shrinks_differences_by_half():
    # between: (.75, .25), (.25, .75); drops of domain 0: .3, .1. Least squares gives .4 and 0; the
    # penalty equals the mean square of the mixtures, the Gram matrix has it twice: 2 / 3 is left
    mixtures = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    law = estimate(mixtures, np.array([[3.0, 1], [2.7, 1], [2.6, 1]]))
    assert law[0] == pytest.approx([0.2 + 2 / 3 * 0.2, 0.2 - 2 / 3 * 0.2])
    assert law[1] == pytest.approx([0, 0])


def test_the_signs_of_a_true_law_are_found():
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet(np.ones(2), size=20)
    true = np.array([[0.3, -0.1], [0.0, 0.2]])
    found = estimate(mixtures, losses_under(true, mixtures))
    assert found[0, 0] > found[0, 1]
    assert found[1, 1] > found[1, 0]


def test_domains_without_two_losses_in_a_row_have_no_say():
    mixtures = np.array([[0.5, 0.5]] * 3)
    law = estimate(mixtures, np.array([[3.0, 2.0], [2.9, NAN], [2.8, 1.8]]))
    assert law[0] == pytest.approx([0.1, 0.1])
    assert law[1].tolist() == [0, 0]
    assert not estimate(mixtures[:1], np.array([[3.0, 2.0]])).any()


def test_ascent_by_hand():
    # column sums .6 and .2 of a total of .8: exponents .2 * 2 * (.75, .25)
    found = ascend(np.array([0.5, 0.5]), np.array([[0.4, 0.0], [0.2, 0.2]]))
    ratio = math.exp(0.2 * 2 * 0.5)
    assert found == pytest.approx([ratio / (1 + ratio), 1 / (1 + ratio)])
    # a negative entry shifts all: columns (.5, .2), (.3, .0) become 1.0 and 0.4 after + .2
    shifted = ascend(np.array([0.5, 0.5]), np.array([[0.3, 0.0], [0.2, -0.2]]))
    ratio = math.exp(0.2 * 2 * (0.9 - 0.2) / 1.1)
    assert shifted == pytest.approx([ratio / (1 + ratio), 1 / (1 + ratio)])
    even = np.array([0.3, 0.7])
    assert ascend(even, np.zeros((2, 2))) is even


def test_even_weights_but_for_the_tilt_at_step_1(history):
    mixture = AioliController().propose(history(1, seed=3)).mixture_N
    factors = tilt(3, seed=3, step=1)
    assert mixture[[0, 2, 3]] == pytest.approx(factors / factors.sum(), abs=1e-3)
    assert mixture[1] == 0


def test_tilts_differ_by_step_and_seed_and_are_small():
    many = np.log([tilt(50, seed=1, step=step) for step in range(50)]) / TILT
    assert abs(many.mean()) < 0.1
    assert many.std() == pytest.approx(1, abs=0.1)
    assert not np.array_equal(tilt(3, seed=1, step=1), tilt(3, seed=1, step=2))
    assert not np.array_equal(tilt(3, seed=1, step=1), tilt(3, seed=2, step=1))


def test_without_losses_the_weights_stay_and_only_the_tilt_changes(history):
    controller = AioliController()
    first = controller.propose(history(1)).mixture_N
    second = controller.propose(history(mixtures=[first], counts=[[7, 0, 7, 6]])).mixture_N
    factors = tilt(3, seed=0, step=2)
    assert second[[0, 2, 3]] == pytest.approx(factors / factors.sum(), abs=2e-3)


def test_a_domain_that_lowers_every_loss_gains(space, history):
    controller, mixtures, losses = AioliController(), [], []
    now = np.array([4.0, NAN, 4.0, 4.0])
    for _ in range(30):
        mixture = controller.propose(
            history(mixtures=mixtures, losses=losses, counts=[[7, 0, 7, 6]] * len(losses))
            if mixtures
            else history(1)
        ).mixture_N
        now = now - 0.2 * mixture[2]
        mixtures.append(mixture)
        losses.append(now)
    assert np.mean([m[2] for m in mixtures[-5:]]) > 0.5
