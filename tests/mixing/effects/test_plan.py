import dataclasses
import math

import numpy as np
import pytest

from dmix.mixing.effects.counts import CountModel, ScoredTokens
from dmix.mixing.effects.plan import (
    Supply,
    ascend,
    checked_choice,
    domains_that_matter,
    make_plan,
    plan_and_heard,
    plan_around,
)
from dmix.mixing.effects.prediction import Coefficients, Prediction, predict
from dmix.mixing.effects.settings import PlanRules
from dmix.mixing.space.simplex import kl, total_variation
from dmix.warehouse_schema.errors import InputError

ONE = np.ones(1)
BOLD = PlanRules(pull=0.25, caution=0.0)


def supply(size=2, *, samples=1000, total=1000, passes=100, **bounds):
    samples_N = np.full(size, samples, np.int64)
    return Supply(total=total, samples_N=samples_N, max_passes=passes, **bounds)


def test_linear_optimum_is_the_one_on_paper(make_effects):
    prediction = predict([make_effects([[-0.1], [0.1]], 0.001)], None)
    plan = make_plan(prediction, weights_D=ONE, scales_D=ONE, supply=supply(), rules=BOLD)
    # max 0.1 (rho_1 - rho_0) - 0.25 KL: rho_1 / rho_0 = exp(0.2 / 0.25)
    expected = 1 / (1 + math.exp(-0.8))
    assert plan.mixture_N == pytest.approx([1 - expected, expected], abs=1e-3)
    assert plan.gain_D == pytest.approx([0.1 * (2 * expected - 1)], abs=1e-3)
    assert plan.gap <= 1e-4 and not plan.is_natural


def test_two_objectives_that_disagree_meet_by_their_weights(make_effects):
    prediction = predict([make_effects([[-0.4, 0.2], [0.4, -0.2]], 0.001)], None)
    plan = make_plan(
        prediction,
        weights_D=np.array([0.5, 0.5]),
        scales_D=np.array([2.0, 1.0]),
        supply=supply(),
        rules=BOLD,
    )
    # 0.5 / 2 * 0.4 = 0.5 / 1 * 0.2: they cancel
    assert plan.is_natural and plan.utility == pytest.approx(0, abs=1e-6)


def counted(p_RA, weight_R):
    size = len(p_RA)
    tokens = ScoredTokens(
        objective_R=np.zeros(size, np.int32),
        item_R=np.arange(size, dtype=np.int32),
        previous_R=np.zeros(size, np.int64),
        token_R=np.arange(size),
        weight_R=np.asarray(weight_R),
    )
    return CountModel(
        tokens=tokens, active=np.array([0, 1]), size=2, p_RA=np.asarray(p_RA), alpha_D=np.ones(1)
    )


def test_counts_without_pull_give_the_shares_that_say_the_items(make_effects):
    # three quarters of the items only domain 0 can say, one quarter only domain 1
    counts = counted([[1.0, 0.0], [0.0, 1.0]], [0.75, 0.25])
    prediction = Prediction(
        natural_N=np.array([0.5, 0.5]),
        objectives=("o",),
        coefficients=Coefficients(beta_D=ONE, gamma_D=0 * ONE, q_D=0 * ONE),
        heard_D=np.array([True]),
        counts=counts,
        effect_ND=None,
        errors=(np.zeros((1, 2)),),
        natural_gain_D=np.zeros(1),
    )
    plan = make_plan(
        prediction, weights_D=ONE, scales_D=ONE, supply=supply(), rules=PlanRules(pull=0.0, caution=0.0)
    )
    assert plan.mixture_N == pytest.approx([0.75, 0.25], abs=5e-3)


def test_supply_is_never_exceeded(make_effects):
    prediction = predict([make_effects([[-5.0], [5.0]], 0.001)], None)
    asked = supply(samples=600, total=1000, passes=1)
    plan = make_plan(prediction, weights_D=ONE, scales_D=ONE, supply=asked, rules=BOLD)
    assert plan.mixture_N == pytest.approx([0.4, 0.6], abs=1e-6)
    assert (plan.passes_N <= 1 + 1e-9).all()


def test_guard_rails_hold_the_plan(make_effects):
    prediction = predict([make_effects([[-5.0], [5.0]], 0.001)], None)
    asked = supply(floors_N=np.array([0.3, 0.0]), ceilings_N=np.array([1.0, 0.65]))
    plan = make_plan(prediction, weights_D=ONE, scales_D=ONE, supply=asked, rules=BOLD)
    assert plan.mixture_N == pytest.approx([0.35, 0.65], abs=1e-6)
    with pytest.raises(InputError, match="guard"):
        supply(ceilings_N=np.array([0.2, 0.2])).bounds()


def test_a_run_that_draws_everything_leaves_no_choice_and_says_so(make_effects):
    prediction = predict([make_effects([[-5.0], [5.0]], 0.001)], None)
    plan = make_plan(
        prediction, weights_D=ONE, scales_D=ONE, supply=supply(samples=500, passes=1), rules=BOLD
    )
    assert plan.is_natural and "all available samples" in plan.note


def test_caution_takes_back_what_is_not_sure(make_effects):
    sure, unsure = (predict([make_effects([[-0.5], [0.5]], e)], None) for e in (0.01, 0.15))
    plans = [
        make_plan(p, weights_D=ONE, scales_D=ONE, supply=supply(), rules=PlanRules()) for p in (sure, unsure)
    ]
    assert plans[0].mixture_N[1] > plans[1].mixture_N[1] > 0.5
    low, high = plans[1].interval
    assert low < plans[1].utility < high


def test_pure_noise_gives_natural_mixing_in_95_of_100_draws(make_effects):
    rng = np.random.default_rng(0)
    size, error, near = 12, 0.3, 0
    natural = rng.dirichlet(np.full(size, 2.0))
    for _ in range(200):
        noise = rng.normal(0, error, (size, 3))
        effects = make_effects(noise - natural @ noise, error, natural_N=natural)
        plan = make_plan(
            predict([effects], None),
            weights_D=np.full(3, 1 / 3),
            scales_D=np.full(3, 0.1),
            supply=supply(size),
        )
        near += bool(total_variation(plan.mixture_N, natural) < 0.02)
    assert near >= 190
    # and they would not, if noise were believed
    assert total_variation(np.exp(noise.mean(1)) * natural, natural) > 0.02


def test_noise_is_said_to_be_noise(make_effects):
    effects = make_effects([[-0.1], [0.1]], 0.5)
    plan = make_plan(predict([effects], None), weights_D=ONE, scales_D=ONE, supply=supply())
    assert plan.is_natural and "smaller than their noise" in plan.note
    assert plan.to_json(effects.names)["mixture"] == {"source/d0": 0.5, "target/d1": 0.5}


def test_ascent_certifies_its_optimum():
    wanted = np.array([0.2, 0.3, 0.5])

    def distance(mixture):
        return -float(((mixture - wanted) ** 2).sum())

    found, gap = ascend(
        distance,
        lambda mixture: -2 * (mixture - wanted),
        np.full(3, 1 / 3),
        floors_N=np.zeros(3),
        ceilings_N=np.ones(3),
    )
    assert found == pytest.approx(wanted, abs=0.01) and gap <= 1e-4


@pytest.mark.parametrize("rules", [{"pull": -1.0}, {"caution": math.inf}])
def test_rules_out_of_range_are_refused(rules):
    with pytest.raises(InputError, match="expected 0 or more"):
        PlanRules(**rules)


def test_a_checked_plan_has_to_be_ahead_of_natural_runs_by_two_standard_errors():
    objective = np.array([0, 0, 1, 1])
    value = np.array([0.5, 0.5])
    natural = np.array([[0.0, 0, 0, 0], [0.2, 0.2, 0.2, 0.2]])
    # natural runs differ by 0.2 in utility: sd 0.2 / sqrt(2), standard error sd * sqrt(1.5)
    seeds = 0.2 / math.sqrt(2) * math.sqrt(1.5)
    plans = 0.1 + np.array([[0.3, 0.3, 0.3, 0.3], [0.4, 0.4, 0.4, 0.4]])
    chosen, gains, errors = checked_choice(plans, natural, objective_I=objective, value_D=value)
    assert gains == pytest.approx([0.3, 0.4]) and errors == pytest.approx([seeds, seeds])
    assert chosen == 1
    # the same gain by one item in two: items leave it open
    uneven = 0.1 + np.array([[0.8, 0.0, 0.8, 0.0]])
    chosen, gains, errors = checked_choice(uneven, natural, objective_I=objective, value_D=value)
    assert gains == pytest.approx([0.4]) and chosen is None and errors[0] > seeds


def test_domains_that_matter_are_those_whose_share_moves_the_utility(make_effects):
    effects = make_effects([[0.0], [0.5], [0.0], [-1.0]], 0.001, natural_N=[0.25] * 4)
    prediction = predict([effects], None)
    mixture = np.array([0.4, 0.2, 0.0, 0.4])
    # less the mean -0.3: 0.3 sqrt(.24), 0.8 sqrt(.16), nothing of a domain without share, 0.7 sqrt(.24)
    given = {"value_D": ONE, "able_N": np.ones(4, bool)}
    assert domains_that_matter(prediction, mixture, most=2, **given) == (3, 1)
    given["able_N"] = np.array([True, True, False, False])
    assert domains_that_matter(prediction, mixture, most=8, **given) == (1, 0)


def test_a_second_plan_stays_near_the_first(make_effects):
    mixture = np.array([0.3, 0.7])
    before = predict([make_effects([[-0.1], [0.1]], 0.001)], None)
    local = before.around(mixture, correction_ND=np.array([[5.0], [0.0]]), errors=(np.zeros((2, 2)),))
    given = {"weights_D": ONE, "scales_D": ONE, "supply": supply(), "rules": BOLD}
    plan = plan_around(local, **given)
    # it would go all the way, and goes as far as it may
    assert plan.mixture_N[0] > 0.3 and 0.15 < kl(plan.mixture_N, mixture) <= 0.2 and plan.utility > 0
    free = plan_around(local, radius=9.0, **given)
    assert kl(free.mixture_N, mixture) > 0.2
    quiet = before.around(mixture, correction_ND=np.zeros((2, 1)), errors=(np.diag([9.0, 9.0]),))
    careful = plan_around(quiet, **{**given, "rules": PlanRules()})
    assert careful.mixture_N == pytest.approx(mixture, abs=1e-5)
    assert careful.utility == pytest.approx(0, abs=1e-6)


def test_a_plan_and_its_note_keep_the_field_that_nobody_heard(make_effects):
    effects = make_effects([[0.0, -2.0], [0.0, -1.0], [0.0, 1.0], [0.0, 2.0]], 0.05)
    free = predict([effects], None)
    kept = dataclasses.replace(free, kept_FN=np.array([[True, True, False, False]]))
    plans = [
        make_plan(p, weights_D=np.full(2, 0.5), scales_D=np.ones(2), supply=supply(4)) for p in (free, kept)
    ]
    assert plans[0].mixture_N[:2].sum() < 0.1
    assert plans[1].mixture_N[:2].sum() == pytest.approx(0.5)
    assert plans[1].mixture_N[3] > plans[1].mixture_N[2] > 0 and plans[1].utility > 0
    assert "natural share" in plans[1].note and "natural share" not in plans[0].note


LOPSIDED_N = np.array([0.48, 0.48, 0.02, 0.02])


def lopsided(make_effects, effect):
    """All domains but the last cost the first objective; the last alone does something to the second one.

    The second objective is not heard: over tilts, a domain of little share hardly moves it.
    """
    effect_ND = np.array([[-1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0], [1.0, effect]])
    effects = make_effects(effect_ND - LOPSIDED_N @ effect_ND, 0.1, natural_N=LOPSIDED_N)
    return predict([effects], None)


def test_an_objective_within_noise_is_heard_where_the_plan_would_make_it_worse(make_effects):
    asked = supply(4)
    given = {"weights_D": np.full(2, 0.5), "scales_D": np.full(2, 0.5), "supply": asked, "rules": BOLD}
    deaf, harmless, harmful = (lopsided(make_effects, effect) for effect in (0.0, 1.0, -1.0))
    assert [p.heard_D.tolist() for p in (deaf, harmless, harmful)] == [[True, False]] * 3
    plans = [make_plan(p, **given) for p in (deaf, harmless, harmful)]
    assert plans[0].mixture_N[3] > 0.5
    # a gain of an objective within noise attracts nothing
    assert plans[1].mixture_N == pytest.approx(plans[0].mixture_N)
    assert plans[2].mixture_N[3] < 0.6 * plans[0].mixture_N[3]
    assert "ignores" in plans[0].note and "ignores" not in plans[2].note


def test_no_plan_promises_a_loss(make_effects):
    rng = np.random.default_rng(1)
    heard = 0
    for _ in range(50):
        effects = make_effects(rng.normal(0, [0.4, 0.12], (4, 2)), [0.05, 0.1])
        value_D = np.array([0.5, 0.5]) / [0.3, 0.05]
        known, plan = plan_and_heard(
            predict([effects], None), value_D=value_D, supply=supply(4), rules=PlanRules()
        )
        everything = dataclasses.replace(known, heard_D=np.array([True, True]))
        assert value_D @ everything.gains(plan.mixture_N) >= -1e-6
        heard += known.heard_D.sum()
    assert heard > 50
