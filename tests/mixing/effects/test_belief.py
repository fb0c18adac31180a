"""The filter equals the closed form: scores and states are jointly normal."""

import dataclasses

import numpy as np
import pytest

from dmix.mixing.effects.belief import LEVEL, SCALE, Belief, BeliefSettings, Filter, StepInput
from dmix.mixing.space.returns import Returns
from dmix.warehouse_schema.errors import InputError

SETTINGS = BeliefSettings(drift=0.3, scale=0.4, direction=0.8, walk=0.6, noise=0.2)
STEPS = 5
SCALES = np.array([0.5, 2.0])


def steps_of_a_run(rng):
    return [
        StepInput(
            natural_gain_D=rng.normal(0.1, 0.05, 2),
            gain_D=rng.normal(0, 0.3, 2),
            share=float(rng.normal(0, 0.2)),
        )
        for _ in range(STEPS)
    ]


def run_filter(scores_TD, steps):
    kalman = Filter(SETTINGS, scales_D=SCALES, steps=STEPS)
    belief = kalman.start(scores_TD[0])
    for step, scores_D in zip(steps, scores_TD[1:], strict=True):
        belief = kalman.updated(kalman.predicted(belief, step), scores_D)
    return belief


def closed_form(scores_TD, steps, *, objective):
    """Posterior of (level_T, phi_T): scores and states are linear maps of all draws.

    Draws: level_0 (noise variance, around the first score), phi_0, eta_1 … eta_T.
    """
    scale = SCALES[objective]
    prior = np.array([0.3 * scale / STEPS, 0.4, 0.8 * scale / STEPS])
    variances = np.concatenate([[(0.2 * scale) ** 2], prior**2, *[(0.6 * prior) ** 2 / STEPS] * STEPS])
    size = len(variances)
    level = np.zeros(size)
    level[0] = 1
    mean = scores_TD[0, objective]
    phi, phi_mean = np.zeros((3, size)), np.array([0.0, 1.0, 0.0])
    phi[:, 1:4] = np.eye(3)
    rows, means = [], []
    for number, step in enumerate(steps):
        phi = phi.copy()
        phi[:, 4 + 3 * number : 7 + 3 * number] += np.eye(3)
        u = np.array([1.0, step.gain_D[objective], step.share])
        level = level + u @ phi
        mean = mean + step.natural_gain_D[objective] + u @ phi_mean
        rows.append(level)
        means.append(mean)
    seen = np.isfinite(scores_TD[1:, objective])
    observed, expected = np.array(rows)[seen], np.array(means)[seen]
    states, state_means = np.vstack([level, phi]), np.array([mean, *phi_mean])
    noise = (0.2 * scale) ** 2 * np.eye(seen.sum())
    gram = observed * variances @ observed.T + noise
    gains = states * variances @ observed.T @ np.linalg.inv(gram)
    posterior = state_means + gains @ (scores_TD[1:, objective][seen] - expected)
    covariance = states * variances @ states.T - gains @ (observed * variances @ states.T)
    return posterior, covariance


@pytest.mark.parametrize("missing", [False, True])
def test_filter_equals_the_closed_form(missing):
    rng = np.random.default_rng(3)
    steps, scores_TD = steps_of_a_run(rng), rng.normal(-4, 0.5, (STEPS + 1, 2))
    if missing:
        scores_TD[2, 0] = np.nan
    belief = run_filter(scores_TD, steps)
    for objective in range(2):
        mean, covariance = closed_form(scores_TD, steps, objective=objective)
        np.testing.assert_allclose(belief.mean_D4[objective], mean, atol=1e-10)
        np.testing.assert_allclose(belief.covariance_D44[objective], covariance, atol=1e-10)


def test_one_step_by_hand():
    """s = 1, M = 1, drift and direction certain: level 0 has variance .01, the scale 1 variance .25, gain 2.

    Predicted level: mean 2, variance .01 + 4 (.25 + .25) = 2.01; with noise 2.02. A score of 3 moves the
    scale by 2 * .5 / 2.02 = .4950.
    """
    settings = BeliefSettings(drift=0, scale=0.5, direction=0, walk=1.0, noise=0.1)
    kalman = Filter(settings, scales_D=np.ones(1), steps=1)
    step = StepInput(natural_gain_D=np.zeros(1), gain_D=np.array([2.0]), share=0.0)
    predicted = kalman.predicted(kalman.start(np.zeros(1)), step)
    forecast = kalman.forecast(predicted)
    assert forecast.mean_D[0] == 2.0
    assert forecast.stderr_D[0] == pytest.approx(np.sqrt(2.02))
    assert kalman.updated(predicted, np.array([3.0])).mean_D4[0, SCALE] == pytest.approx(1.49505, abs=1e-5)


def test_what_a_score_tells_does_not_depend_on_its_unit():
    rng = np.random.default_rng(0)
    steps, scores_TD = steps_of_a_run(rng), rng.normal(-4, 0.5, (STEPS + 1, 2))
    once = run_filter(scores_TD, steps)
    kalman = Filter(SETTINGS, scales_D=10 * SCALES, steps=STEPS)
    belief = kalman.start(10 * scores_TD[0])
    for step, scores_D in zip(steps, scores_TD[1:], strict=True):
        larger = StepInput(natural_gain_D=10 * step.natural_gain_D, gain_D=10 * step.gain_D, share=step.share)
        belief = kalman.updated(kalman.predicted(belief, larger), 10 * scores_D)
    np.testing.assert_allclose(belief.scale_D, once.scale_D, atol=1e-9)


def test_mixture_of_beliefs_has_their_mean_and_covariance():
    """Levels 0 and 2 with variance 1, probability 1/4 and 3/4: mean 1.5, variance 1 + 3/16 * 4 = 1.75."""
    beliefs = [
        Belief(mean_D4=np.array([[level, 0.0, 1.0, 0.0]]), covariance_D44=np.eye(4)[None]) for level in (0, 2)
    ]
    joint = Belief.mixture(beliefs, np.array([0.25, 0.75]))
    assert joint.mean_D4[0, LEVEL] == 1.5
    assert joint.covariance_D44[0, LEVEL, LEVEL] == pytest.approx(1.75)


def test_each_hypothesis_frees_one_number():
    free = [(h.drift, h.scale, h.direction) for h in BeliefSettings(minor=0.1).hypotheses()]
    np.testing.assert_allclose(free, [(0.5, 0.05, 0.1), (0.05, 0.5, 0.1), (0.05, 0.05, 1.0)])


def test_fading_takes_a_level_back_towards_the_first_score():
    settings = BeliefSettings(drift=0, scale=0, direction=0, fading=0.75)
    returns = Returns.straight(np.array([-4.0]))
    kalman = Filter(settings, scales_D=np.ones(1), steps=2, returns=returns)
    belief = dataclasses.replace(kalman.start(np.array([-4.0])), mean_D4=np.array([[-2.0, 0, 1, 0]]))
    quiet = StepInput(natural_gain_D=np.zeros(1), gain_D=np.zeros(1), share=0.0)
    # half of it in each of the two steps
    assert kalman.predicted(belief, quiet).mean_D4[0, LEVEL] == pytest.approx(-3.0)


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(InputError, match="noise"):
        BeliefSettings(noise=0)
    with pytest.raises(InputError, match="drift"):
        BeliefSettings(drift=-1)


def test_gains_that_saturate_come_early():
    rates_M = np.array([0.1, 0.4, 0.3, 0.2])
    straight, early = (
        Filter(BeliefSettings(saturation=k), scales_D=np.ones(1), steps=4) for k in (0.0, np.log(2))
    )
    assert straight.gain_shares(rates_M) == pytest.approx(rates_M)
    assert straight.step_weights(4) == pytest.approx(np.ones(4))
    # the part reached at p is 2 (1 - 2^-p)
    ends = 2 * (1 - 0.5 ** np.array([0, 0.1, 0.5, 0.8, 1.0]))
    assert early.gain_shares(rates_M) == pytest.approx(np.diff(ends))
    assert early.step_weights(4).sum() == pytest.approx(4) and (np.diff(early.step_weights(4)) < 0).all()
    with pytest.raises(InputError, match="saturation is -1"):
        BeliefSettings(saturation=-1.0)


def test_drift_and_direction_have_the_weight_of_the_step():
    slow = StepInput(natural_gain_D=np.zeros(1), gain_D=np.array([0.3]), share=0.5, step_weight=0.5)
    assert slow.vectors_D3() == pytest.approx(np.array([[0.5, 0.3, 0.25]]))
