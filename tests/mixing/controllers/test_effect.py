"""The effect agent begins as the plan, keeps to it while forecasts hold, and follows news."""

import dataclasses
import json

import numpy as np
import pytest

from dmix.mixing.controllers.effect import EffectController
from dmix.mixing.effects.belief import BeliefSettings
from dmix.mixing.effects.effect_agent import ListeningRules
from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.plan import Supply, make_plan
from dmix.mixing.effects.prediction import Coefficients, predict
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History, RunEffects
from dmix.warehouse_schema.errors import InputError

STEPS = 8
SAMPLES = np.array([600, 400, 300, 200])
SPACE = DomainSpace(("a", "b"), SAMPLES * 100)
# Nats per token and unit of share: a helps the general objective, target/b the target objective.
EFFECT_ND = np.array([[0.6, -0.3], [-0.5, -0.2], [-0.3, 0.1], [-0.35, 1.15]])
QUIET = BeliefSettings(noise=0.02)


def prediction(effect_ND=EFFECT_ND, *, natural_N=SPACE.natural_N, names=SPACE.names, natural_gain_D=None):
    effects = Effects(
        estimator="gradient",
        dataset="d",
        environment="e",
        names=names,
        natural_N=natural_N,
        objectives=("general", "target"),
        roles=("general", "target"),
        effect_ND=effect_ND - natural_N @ effect_ND,
        errors=tuple(np.full((1, len(natural_N)), 0.01) for _ in range(2)),
    )
    curved = Coefficients(beta_D=np.zeros(2), gamma_D=np.ones(2), q_D=np.full(2, 0.2))
    return predict([effects], None, coefficients=curved, natural_gain_D=natural_gain_D)


def measured():
    """The same where natural mixing was run once, and hardly gained."""
    return prediction(natural_gain_D=np.full(2, 1e-3))


def history(mixtures=(), scores=(), *, space=SPACE, steps=STEPS, remaining_N=None, first=(-4.0, -5.0)):
    rows = [space.start_N, *mixtures]
    return History(
        space=space,
        mixtures_TN=np.array(rows),
        feedback_TD=np.array([first, *scores]),
        objectives=("general", "target"),
        weights_D=np.array([0.5, 0.5]),
        scales_D=np.array([0.2, 0.3]),
        steps=steps,
        step_samples=100,
        remaining_samples_N=space.samples_N if remaining_N is None else np.asarray(remaining_N),
        seed=0,
    )


def driven(controller, respond, *, steps=STEPS, space=SPACE):
    """Mixtures and last proposal of a run whose scores follow `respond(mixture, step) -> change`."""
    mixtures, scores, score = [], [], np.array([-4.0, -5.0])
    for step in range(1, steps + 1):
        proposal = controller.propose(history(mixtures, scores, steps=steps, space=space))
        score = score + respond(proposal.mixture_N, step)
        mixtures.append(proposal.mixture_N)
        scores.append(score)
    return np.array(mixtures), proposal


def test_first_step_is_the_plan():
    plan = make_plan(
        prediction(),
        weights_D=np.array([0.5, 0.5]),
        scales_D=np.array([0.2, 0.3]),
        supply=Supply(total=100 * STEPS, samples_N=SPACE.samples_N, max_passes=1),
    )
    endless = EffectController(prediction(), belief=BeliefSettings(headroom=np.inf)).propose(history())
    np.testing.assert_allclose(endless.mixture_N, plan.mixture_N, atol=2e-3)
    # where scores near their ceiling, doubt has a price, so the agent is a little nearer to natural mixing
    proposal = EffectController(prediction()).propose(history())
    np.testing.assert_allclose(proposal.mixture_N, plan.mixture_N, atol=0.03)
    assert plan.mixture_N[[0, 3]].sum() > SPACE.natural_N[[0, 3]].sum()


def test_forecasts_that_hold_change_nothing():
    promised = prediction()
    mixtures, last = driven(EffectController(promised), lambda m, step: promised.gains(m) / STEPS)
    assert np.abs(mixtures - mixtures[0]).max() < 0.01
    assert not last.note


def test_gains_that_do_not_come_bring_it_back_towards_natural():
    controller = EffectController(measured(), belief=BeliefSettings(noise=0.01))
    mixtures, _ = driven(controller, lambda m, step: np.zeros(2))
    away = np.abs(mixtures - SPACE.natural_N).sum(1)
    assert away[-1] < 0.6 * away[0]


def test_a_target_that_costs_the_source_more_than_promised_gets_less():
    promised = prediction()
    natural = SPACE.natural_N[SPACE.target_N].sum()

    def respond(mixture_N, step):
        share = mixture_N[SPACE.target_N].sum() - natural
        return promised.gains(mixture_N) / STEPS + np.array([-0.15 * share - 0.02, 0.0])

    heard, _ = driven(EffectController(promised, belief=QUIET), respond)
    unheard, _ = driven(EffectController(promised, belief=QUIET), lambda m, s: promised.gains(m) / STEPS)
    assert heard[-1][SPACE.target_N].sum() < unheard[-1][SPACE.target_N].sum() - 0.01


def test_broken_promises_end_in_natural_mixing_and_say_so():
    controller = EffectController(measured(), belief=BeliefSettings(noise=0.01, drift=0.01, direction=0.01))
    mixtures, last = driven(controller, lambda m, step: np.array([-0.2, -0.2]))
    np.testing.assert_array_equal(mixtures[-1], SPACE.natural_N)
    assert "standard errors" in last.note


def test_a_rise_under_any_mixture_is_no_merit_of_the_plan():
    """A young model's target score rises by six scales whatever it reads; nobody measured that before."""

    def rising(mixture_N, step):
        return prediction().gains(mixture_N) / STEPS + np.array([0.0, 6 * 0.3 / STEPS])

    kept, last = driven(EffectController(prediction()), rising)
    credited, _ = driven(EffectController(prediction(), belief=BeliefSettings(natural=0.5)), rising)
    quiet, _ = driven(EffectController(prediction()), lambda m, step: prediction().gains(m) / STEPS)
    target = SPACE.target_N
    rise = abs(kept[-1][target].sum() - quiet[-1][target].sum())
    assert rise < 0.5 * abs(credited[-1][target].sum() - quiet[-1][target].sum())
    said = json.loads(last.events[0].detail)["target"]
    score = -5.0 + 6 * 0.3 + prediction().gains(kept.mean(0))[1]
    assert said["low"] < score < said["high"]


def test_better_than_promised_is_no_broken_promise():
    controller = EffectController(measured(), belief=BeliefSettings(noise=0.01, drift=0.01, direction=0.01))
    _, last = driven(controller, lambda m, step: np.array([0.2, 0.2]))
    assert not last.note


def test_forecast_is_an_event_with_an_interval():
    (event,) = EffectController(prediction()).propose(history()).events
    said = json.loads(event.detail)
    assert event.kind == "forecast"
    assert set(said) == {"general", "target"}
    assert said["general"]["low"] < said["general"]["expected"] < said["general"]["high"]


def test_no_step_asks_for_more_than_the_rest_of_the_run_can_draw():
    remaining = np.array([60_000, 40_000, 30_000, 40])
    proposal = EffectController(prediction()).propose(history(remaining_N=remaining))
    assert proposal.mixture_N[3] <= 40 / (100 * STEPS) + 1e-9


def test_the_change_of_gradients_corrects_the_plan_and_what_they_got_wrong_throughout_does_not():
    """Text of target/b has taught what it had to teach; the estimator is off by 5 everywhere."""
    first_ND = EFFECT_ND + 5.0
    learnt_ND = first_ND - np.array([0.0, 0.0, 0.0, 1.0])[:, None] * [0.0, 1.0]
    silent = np.zeros(EFFECT_ND.shape)
    taken = [
        RunEffects(step=step, effect_ND=effect_ND, stderr_ND=silent)
        for step, effect_ND in ((1, first_ND), (3, first_ND), (5, learnt_ND))
    ]
    whole = history([SPACE.natural_N] * 4, [(-4.0, -5.0)] * 4)
    controller = EffectController(measured())

    def share(*effects):
        return controller.propose(dataclasses.replace(whole, effects=effects)).mixture_N[3]

    assert share() == share(taken[0]) == pytest.approx(share(taken[0], taken[1]))
    assert share(taken[0], taken[2]) < share() - 0.01
    deaf = EffectController(measured(), listening=ListeningRules(trust=0.0))
    proposal = deaf.propose(dataclasses.replace(whole, effects=(taken[0], taken[2])))
    assert proposal.mixture_N[3] == pytest.approx(share())
    with pytest.raises(InputError, match="trust is 2"):
        ListeningRules(trust=2.0)


def test_names_and_order_of_domains_change_nothing():
    """Domains swapped within their fields give the mixture swapped alike, under any labels."""
    order = np.array([1, 0, 3, 2])
    swapped = DomainSpace(("z", "y"), SPACE.samples_N[order])
    first = EffectController(prediction()).propose(history()).mixture_N
    second = EffectController(
        prediction(EFFECT_ND[order], natural_N=swapped.natural_N, names=swapped.names)
    ).propose(history(space=swapped))
    np.testing.assert_allclose(second.mixture_N, first[order], atol=1e-6)


def test_noise_alone_is_natural_mixing():
    proposal = EffectController(prediction(np.zeros((4, 2)))).propose(history())
    np.testing.assert_allclose(proposal.mixture_N, SPACE.natural_N, atol=1e-6)


def test_missing_scores_and_other_objectives():
    controller = EffectController(prediction())
    assert "missing" in controller.propose(history(first=(np.nan, -5.0))).note
    whole = history([SPACE.natural_N], [(np.nan, -4.9)])
    assert np.isfinite(controller.propose(whole).mixture_N).all()
    other = History(**{**vars(history()), "objectives": ("x", "y")})
    with pytest.raises(InputError, match="mix probe"):
        controller.propose(other)


def test_the_source_keeps_its_share_where_nobody_knows_what_less_would_cost():
    silent_ND = EFFECT_ND * [0.0, 1.0]
    free = prediction(silent_ND)
    kept = dataclasses.replace(free, kept_FN=~SPACE.target_N[None])
    natural = SPACE.natural_N[SPACE.target_N].sum()
    shares = [
        driven(EffectController(p), lambda m, step: np.array([0.0, 0.1]))[0][:, SPACE.target_N].sum(1)
        for p in (free, kept)
    ]
    assert shares[0][0] > natural + 0.1
    assert (shares[1] <= natural + 1e-9).all()


def test_an_objective_within_noise_is_heard_at_every_step_where_the_plan_would_hurt_it():
    loud = prediction()
    deaf = dataclasses.replace(loud, heard_D=np.array([True, False]))
    # text that helps the general objective costs the target one -0.3 per share, thirty times its error
    first = [EffectController(p).propose(history()).mixture_N for p in (loud, deaf)]
    assert first[1] == pytest.approx(first[0])
    mixtures, _ = driven(EffectController(deaf), lambda m, step: np.array([0.01, 0.02]) * step)
    again, _ = driven(EffectController(loud), lambda m, step: np.array([0.01, 0.02]) * step)
    assert mixtures == pytest.approx(again, abs=1e-9)
