"""The parts of the effect agent: what it hears, asks, has left and forecasts."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tests.mixing.controllers.test_effect import SPACE, STEPS, history, prediction

from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.effects.effect_agent import (
    ListeningRules,
    _asked,
    forecast_json,
    listen,
    noisier_than,
    remaining_supply,
    replan,
    step_input,
    with_run_effects,
)
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.space.history import RunEffects
from dmix.warehouse_schema.errors import InputError

START = np.array([-4.0, -5.0])


def steady(scores):
    """A run under natural mixing with these scores after its steps."""
    return history([SPACE.natural_N] * len(scores), scores)


@pytest.mark.parametrize(
    "given",
    [
        {"inertia": -0.1},
        {"inertia": np.inf},
        {"contradiction": 0.0},
        {"asking": 1.0},
        {"asking": -0.1},
        {"asking_steps": 0},
        {"asking_until": 1.1},
        {"trust": 1.1},
        {"trust": -0.1},
    ],
)
def test_rules_out_of_range_are_named(given):
    ((name, value),) = given.items()
    with pytest.raises(InputError, match=f"{name} is {value}"):
        ListeningRules(**given)


def test_scores_that_bend_are_noisier_than_the_settings_say():
    settings = BeliefSettings(noise=0.1)
    straight = steady([START + 0.1 * step for step in range(1, 5)])
    # straight scores count against four differences of the settings: 4 / (4 + 3)
    assert noisier_than(straight, settings) == pytest.approx(4 / 7)
    # bends of ±0.4 for a noise of 0.1 * 0.2 and 0.1 * 0.3
    zigzag = steady([START + 0.1 * (-1) ** step for step in range(1, 5)])
    bends = np.diff(zigzag.feedback_TD, 2, axis=0)
    wanted = (4 + (bends**2).sum(0) / 6 / np.array([0.02, 0.03]) ** 2) / 7
    assert noisier_than(zigzag, settings) == pytest.approx(wanted)
    missing = steady([(np.nan, np.nan)] * 3)
    assert noisier_than(missing, settings) == pytest.approx(1.0)


def test_too_few_scores_surprise_nobody():
    for scores, silent in (([START] * 2, True), ([START] * 3, False)):
        heard = listen(steady(scores), prediction(), BeliefSettings())
        assert (heard.surprise == -np.inf) == silent


def test_scores_below_the_forecast_are_a_surprise():
    promised = prediction(natural_gain_D=np.full(2, 0.5))
    quiet = BeliefSettings(noise=0.01, drift=0.01, direction=0.01, headroom=np.inf)
    as_promised = steady([START + 0.5 * step / STEPS for step in range(1, 5)])
    fallen = steady([START - 0.5 * step / STEPS for step in range(1, 5)])
    found = [listen(run, promised, quiet).surprise for run in (as_promised, fallen)]
    assert found[0] < 1 and found[1] > 3


def test_a_measured_noise_takes_the_place_of_the_settings():
    run = steady([START + 0.05 * (-1) ** step for step in range(1, 5)])
    loud, still = (
        listen(run, prediction(), BeliefSettings(), noise_D=np.full(2, noise)).belief.covariance_D44
        for noise in (1.0, 0.001)
    )
    assert (np.trace(loud, axis1=1, axis2=2) > np.trace(still, axis1=1, axis2=2)).all()


@pytest.mark.parametrize(
    ("step", "moved"), [(1, -1), (2, -1), (3, 1), (4, 1), (5, -1), (6, -1), (7, 0), (8, 0)]
)
def test_the_target_share_swings_by_turns_until_its_time_is_over(step, moved):
    rules = ListeningRules(asking=0.5, asking_steps=2, asking_until=0.75)
    run = history([SPACE.natural_N] * (step - 1), [START] * (step - 1))
    asked = _asked(run, SPACE.natural_N, rules)
    share, natural = asked[SPACE.target_N].sum(), SPACE.natural_N[SPACE.target_N].sum()
    # half of the smaller field, which is the target with a third
    assert share == pytest.approx(natural * (1 + 0.5 * moved)) and asked.sum() == pytest.approx(1)
    inside = asked[SPACE.target_N] / share
    np.testing.assert_allclose(inside, SPACE.natural_N[SPACE.target_N] / natural)


def test_a_mixture_of_one_field_does_not_swing():
    rules = ListeningRules(asking=0.5)
    assert np.array_equal(_asked(history(), SPACE.start_N, rules), SPACE.start_N)


def test_the_rest_of_a_run_draws_what_is_left():
    run = history([SPACE.natural_N] * 2, [START] * 2, remaining_N=[10, 20, 30, 40])
    supply = remaining_supply(run)
    assert (supply.total, supply.samples_N.tolist(), supply.max_passes) == (
        100 * (STEPS - 2),
        [10, 20, 30, 40],
        1,
    )


def test_a_step_under_natural_mixing_gains_what_natural_mixing_gains():
    promised = prediction(natural_gain_D=np.array([0.4, 0.8]))
    run = history()
    kalman = listen(run, promised, BeliefSettings(headroom=np.inf)).filter
    done = step_input(run, promised, kalman, SPACE.natural_N, step=1)
    assert done.share == pytest.approx(0) and done.gain_D == pytest.approx([0, 0], abs=1e-9)
    assert done.natural_gain_D[1] == pytest.approx(2 * done.natural_gain_D[0]) and done.natural_gain_D[0] > 0


def test_a_higher_price_of_change_keeps_nearer_to_the_last_mixture():
    run = steady([START] * 3)
    heard = listen(run, prediction(), BeliefSettings())
    away = [
        np.abs(
            replan(
                run, prediction(), heard, rules=PlanRules(pull=0.01), listening=ListeningRules(inertia=price)
            )
            - SPACE.natural_N
        ).sum()
        for price in (0.0, 5.0)
    ]
    assert away[1] < 0.5 * away[0]


def test_gradients_count_from_the_second_on_and_for_objectives_that_are_known():
    taken = [
        RunEffects(step=step, effect_ND=np.full((4, 2), size), stderr_ND=np.full((4, 2), 0.3))
        for step, size in ((1, 1.0), (3, 2.0))
    ]
    promised = prediction()
    for effects, trust in (((), 0.5), (taken[:1], 0.5), (taken, 0.0)):
        run = SimpleNamespace(effects=tuple(effects))
        assert with_run_effects(promised, run, trust=trust) is promised
    corrected = with_run_effects(promised, SimpleNamespace(effects=tuple(taken)), trust=0.5)
    np.testing.assert_allclose(corrected.effect_ND - promised.effect_ND, 0.5)
    assert all(len(new) > len(old) for new, old in zip(corrected.errors, promised.errors, strict=True))


def test_a_forecast_is_written_with_its_95_percent_interval():
    forecast = SimpleNamespace(mean_D=np.array([-3.0]), stderr_D=np.array([0.5]))
    said = json.loads(forecast_json(("x",), forecast))
    assert said == {"x": {"expected": -3.0, "low": pytest.approx(-3.98), "high": pytest.approx(-2.02)}}
