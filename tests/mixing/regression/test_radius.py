import numpy as np
import pytest

from dmix.mixing.regression.radius import choose, divergence, within

NATURAL = np.array([0.5, 0.3, 0.2])


def test_divergence_by_hand():
    assert divergence(NATURAL[None], NATURAL)[0] == pytest.approx(0)
    assert divergence(np.array([[1.0, 0.0, 0.0]]), NATURAL)[0] == pytest.approx(np.log(2))
    assert np.isinf(divergence(np.array([[0.5, 0.5]]), np.array([1.0, 0.0]))[0])


def test_far_mixtures_are_drawn_onto_the_radius_and_near_ones_stay():
    far, near = np.array([0.0, 0.0, 1.0]), np.array([0.45, 0.35, 0.2])
    found = within(np.stack([far, near]), NATURAL, radius=0.1)
    assert divergence(found, NATURAL)[0] == pytest.approx(0.1, abs=1e-6)
    assert found[1] == pytest.approx(near)
    assert found.sum(1) == pytest.approx(1)
    # on the line from natural mixing
    step = found[0] - NATURAL
    assert step / step[2] == pytest.approx((far - NATURAL) / (far - NATURAL)[2])


class Knows:
    """A regressor that knows the truth within a distance and is wrong beyond."""

    def __init__(self, reach):
        self.reach = reach

    def __call__(self, mixtures, scores):
        return self

    def predict(self, mixtures):
        truth = -((mixtures[:, 0] - 0.8) ** 2)
        far = divergence(mixtures, NATURAL) > self.reach
        return np.where(far, 10.0, truth)[:, None]


def test_the_radius_is_the_one_whose_favourites_are_really_good():
    rng = np.random.default_rng(0)
    mixtures = rng.dirichlet(NATURAL * 4, 64)
    mixtures = mixtures[np.argsort(divergence(mixtures, NATURAL))]
    # what lies beyond 0.3 nats is bad, and only a regressor that reaches farther knows it
    far = divergence(mixtures, NATURAL) > 0.3
    scores = np.where(far, -5.0, -((mixtures[:, 0] - 0.8) ** 2))[:, None]
    name, radius, worth = choose(
        mixtures,
        scores,
        value=lambda s: s[:, 0],
        natural_N=NATURAL,
        regressors={"blind": Knows(0.3)},
        radii=(0.1, 0.3, 0.6),
    )
    assert (name, radius) == ("blind", 0.3)
    assert worth["blind", 0.3] > worth["blind", 0.1] > worth["blind", 0.6]


def test_runs_that_are_all_far_away_give_the_smallest_radius():
    mixtures = np.eye(3)[[2, 2, 2, 2]]
    found = choose(
        mixtures,
        np.zeros((4, 1)),
        value=lambda s: s[:, 0],
        natural_N=np.array([0.6, 0.39, 0.01]),
        regressors={"any": Knows(1.0)},
    )
    assert found == ("any", 0.1, {})
