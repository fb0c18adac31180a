import dataclasses

import numpy as np
import pytest

from dmix.mixing.effects.counts import count_effects
from dmix.mixing.effects.prediction import (
    COUNTS_THAT_COME,
    DISTANCE,
    Coefficients,
    fitted_coefficients,
    predict,
    predict_stored,
)
from dmix.mixing.effects.store import StoredEffects
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.warehouse_schema.errors import InputError

HALF = np.array([0.5, 0.5])
MOVED = np.array([0.3, 0.7])
ENVIRONMENT = Environment(objectives=(Objective(name="o0", role="general", kind="qa", path="p"),))


def count_effects_of(counts, **options):
    given = {
        "dataset": "d",
        "environment": "e",
        "names": (("source", "d0"), ("target", "d1")),
        "objectives": ("o0", "o1"),
        "roles": ("general", "target"),
    }
    return count_effects(counts, HALF, **{**given, **options})


def test_linear_gain_and_its_error_are_those_worked_by_hand(make_effects):
    prediction = predict([make_effects([[-2.0], [2.0]], [[0.3], [0.4]])], None)
    # 0.2 of the mixture moves: -0.2 * -2 + 0.2 * 2; error 0.2 * sqrt(0.3^2 + 0.4^2)
    assert prediction.gains(MOVED) == pytest.approx([0.8])
    assert prediction.stderr(MOVED) == pytest.approx([0.1], abs=1e-4)
    assert prediction.gains(HALF) == pytest.approx([0]) and prediction.stderr(HALF) == pytest.approx([0])


def test_counts_predict_whole_mixtures(paper_counts, make_effects):
    effects = count_effects_of(paper_counts)
    only = Coefficients(beta_D=np.ones(2), gamma_D=np.zeros(2), q_D=np.zeros(2))
    prediction = predict([effects], paper_counts, coefficients=only)
    # both objectives are noise on so few items, so neither has a say
    assert prediction.gains(MOVED).tolist() == [0, 0]


def test_noise_has_no_say_and_the_rest_keeps_its_own(make_effects):
    prediction = predict([make_effects([[-2.0, 0.01], [2.0, -0.01]], 0.1)], None)
    assert prediction.heard_D.tolist() == [True, False]
    assert prediction.gains(MOVED)[1] == 0 and prediction.stderr(MOVED)[1] == 0


def test_gradients_match_finite_differences(make_effects):
    effects = make_effects([[-2.0, 1.0], [2.0, -1.0]], 0.1)
    curved = Coefficients(beta_D=np.zeros(2), gamma_D=np.ones(2), q_D=np.array([0.5, 2.0]))
    prediction = predict([effects], None, coefficients=curved)
    direction, step = np.array([-1.0, 1.0]), 1e-6
    for function, gradient in (
        (prediction.gains, prediction.gradient),
        (prediction.stderr, prediction.stderr_gradient),
    ):
        difference = (function(MOVED + step * direction) - function(MOVED)) / step
        assert direction @ gradient(MOVED) == pytest.approx(difference, rel=1e-3)


def test_curvature_takes_off_the_divergence(make_effects):
    curved = Coefficients(beta_D=np.zeros(1), gamma_D=np.ones(1), q_D=np.array([2.0]))
    prediction = predict([make_effects([[-2.0], [2.0]], 0.1)], None, coefficients=curved)
    divergence = 0.3 * np.log(0.3 / 0.5) + 0.7 * np.log(0.7 / 0.5)
    assert prediction.gains(MOVED) == pytest.approx([0.8 - 2 * divergence])


def test_scores_add_the_gain_of_natural_mixing(make_effects):
    prediction = predict([make_effects([[-2.0], [2.0]], 0.1)], None, natural_gain_D=np.array([0.25]))
    assert prediction.scores(HALF) == pytest.approx([0.25])


def test_coefficients_are_read_off_runs_and_never_negative(make_effects):
    prediction = predict([make_effects([[-2.0, -1.0], [2.0, 1.0]], 0.01)], None)
    mixtures = np.array([[0.5 - x, 0.5 + x] for x in (-0.2, -0.1, 0.1, 0.2)] * 5)
    real = prediction.gains(np.array([0.4, 0.6])) / 0.1
    gains = (mixtures[:, 1:] - 0.5) * real * [3.0, -1.0]
    fitted = fitted_coefficients(prediction, mixtures, gains).coefficients
    # 20 runs against a ridge that counts for one; the second would have to be -1
    assert fitted.gamma_D[0] == pytest.approx(3, abs=0.7) and fitted.gamma_D[1] == pytest.approx(0, abs=0.1)
    held = fitted_coefficients(prediction, mixtures, gains, ridge=1e6).coefficients
    assert held.gamma_D == pytest.approx([1, 1], abs=1e-2)


def test_effects_that_do_not_belong_together_are_refused(make_effects, paper_counts):
    effects = make_effects([[-2.0], [2.0]], 0.1)
    with pytest.raises(InputError, match="one dataset"):
        predict([effects, make_effects([[-2.0], [2.0]], 0.1, dataset="other")], None)
    with pytest.raises(InputError, match="one of each"):
        predict([effects, effects], None)
    with pytest.raises(InputError, match="needs effects"):
        predict([], None)


def stored_probes(make_effects, gains_G, *, natural_N, **facts):
    """Probes at dose 1/2 of single domains whose gains over two controls are given, with their effects."""
    names = [
        ("source", "d0"),
        ("source", "d1"),
        ("source", "d2"),
        ("target", "d3"),
        ("target", "d4"),
        ("target", "d5"),
    ]
    probes = [
        {"probe": f"c{i}", "domains": [], "dose": 0.0, "scores": [-3 + e]}
        for i, e in enumerate((-1e-3, 1e-3))
    ]
    probes += [
        {"probe": f"p{i}", "domains": ["/".join(names[i])], "dose": 0.5, "scores": [-3 + gain]}
        for i, gain in enumerate(gains_G)
    ]
    effect_ND = 2 * np.array(gains_G)[:, None]
    effects = make_effects(effect_ND, 1e-3, natural_N=natural_N)
    assert [list(pair) for pair in effects.names] == [list(pair) for pair in names]
    return StoredEffects(
        effects=effects,
        counts=None,
        environment=ENVIRONMENT,
        facts={"probes": probes, **facts},
    )


def test_probes_teach_their_own_coefficients_each_predicted_from_the_others(make_effects):
    natural_N = np.full(6, 1 / 6)
    # all domains of a field alike: what the others say of a probe is right
    alike = stored_probes(make_effects, [-0.2, -0.2, -0.2, 0.2, 0.2, 0.2], natural_N=natural_N)
    assert predict_stored([alike]).coefficients.gamma_D[0] > 0.8
    # as large, but each its own: the others say nothing of a probe, so less is promised
    apart = stored_probes(make_effects, [-0.2, 0.2, 0.0, 0.2, -0.2, 0.0], natural_N=natural_N)
    assert predict_stored([apart]).coefficients.gamma_D[0] < 0.7


def test_probes_below_their_sum_teach_curvature(make_effects):
    # one field helps, and moving away costs 0.1 whatever the direction: 0.23 per nat of KL, which is 0.442
    found = stored_probes(make_effects, [-0.3] * 3 + [0.1] * 3, natural_N=np.full(6, 1 / 6))
    assert predict_stored([found]).coefficients.q_D[0] > 0.1


def test_coefficients_that_check_runs_taught_outweigh_the_defaults(make_effects):
    fit = {"beta": [0.0], "gamma": [0.25], "q": [0.5], "natural_gain": [0.7]}
    found = stored_probes(make_effects, [-0.2] * 3 + [0.2] * 3, natural_N=np.full(6, 1 / 6), fit=fit)
    prediction = predict_stored([found])
    c = prediction.coefficients
    assert (c.beta_D[0], c.gamma_D[0], c.q_D[0]) == (0.0, 0.25, 0.5)
    # N_o is the score that natural mixing itself comes to
    assert prediction.scores(np.full(6, 1 / 6)) == pytest.approx([0.7])


def test_around_another_mixture_a_prediction_is_the_same_plus_what_was_measured_there(make_effects):
    curved = Coefficients(beta_D=np.zeros(1), gamma_D=np.array([0.5]), q_D=np.array([2.0]))
    before = predict([make_effects([[-2.0], [2.0]], 0.1)], None, coefficients=curved)
    none = before.around(MOVED, correction_ND=np.zeros((2, 1)), errors=(np.zeros((2, 2)),))
    other = np.array([0.9, 0.1])
    assert none.gains(other) == pytest.approx(before.gains(other) - before.gains(MOVED))
    assert none.gains(MOVED) == pytest.approx([0]) and none.stderr(MOVED) == pytest.approx([0])
    assert none.scores(MOVED) == pytest.approx(before.scores(MOVED))
    slopes = none.gradient(other) - before.gradient(other)
    assert slopes[0] == pytest.approx(slopes[1], abs=1e-6)
    found = before.around(MOVED, correction_ND=np.array([[0.0], [3.0]]), errors=(np.diag([0.0, 0.4]),))
    # 0.6 of the mixture leaves domain 1, whose effect is 3 larger than was thought
    assert found.gains(other) - none.gains(other) == pytest.approx([-0.6 * 3])
    # 0.6 of share: 0.5 * 0.1 of each domain, and 0.4 of domain 1
    assert found.stderr(other) == pytest.approx([0.6 * np.sqrt(2 * 0.05**2 + 0.4**2)], abs=1e-3)


FIELD_EFFECTS = [[0.0, -2.0], [0.0, -1.0], [0.0, 1.0], [0.0, 2.0]]


def stored_fields(make_effects, effect_ND, *, weights=(1.0, 1.0), **options):
    """Effects of a general and a target objective on two domains of each field."""
    effects = make_effects(effect_ND, 0.05, roles=("general", "target"), **options)
    objectives = tuple(
        Objective(name=f"o{i}", role=role, kind="qa", path="p", weight=weight)
        for i, (role, weight) in enumerate(zip(("general", "target"), weights, strict=True))
    )
    environment = Environment(objectives=objectives)
    return StoredEffects(effects=effects, counts=None, environment=environment, facts={})


def test_a_field_whose_objectives_are_all_within_noise_keeps_its_share(make_effects):
    natural_N = np.array([0.4, 0.2, 0.3, 0.1])
    prediction = predict_stored([stored_fields(make_effects, FIELD_EFFECTS, natural_N=natural_N)])
    assert prediction.kept_FN.tolist() == [[True, True, False, False]]
    # 0.3 of the source become 0.6, two to one as before; the target shares out the rest as before
    moved = prediction.kept(np.array([0.2, 0.1, 0.1, 0.6]))
    assert moved == pytest.approx([0.4, 0.2, 0.4 / 7, 2.4 / 7])
    assert prediction.kept(np.array([0.0, 0.0, 0.5, 0.5])) == pytest.approx([0.4, 0.2, 0.2, 0.2])
    more_source = np.array([0.5, 0.3, 0.1, 0.1])
    assert prediction.kept(more_source) is more_source


@pytest.mark.parametrize(
    ("effect_ND", "weights"),
    [([[2.0, -2.0], [1.0, -1.0], [-1.0, 1.0], [-2.0, 2.0]], (1.0, 1.0)), (FIELD_EFFECTS, (0.0, 1.0))],
)
def test_fields_that_are_heard_or_do_not_count_are_free(effect_ND, weights, make_effects):
    prediction = predict_stored([stored_fields(make_effects, effect_ND, weights=weights)])
    assert prediction.kept_FN is None
    mixture = np.array([0.1, 0.1, 0.1, 0.7])
    assert prediction.kept(mixture) is mixture


def test_counts_without_a_model_take_what_worlds_taught_where_asked(paper_counts):
    plain = count_effects_of(paper_counts)
    stored = [
        StoredEffects(effects=e, counts=paper_counts, environment=ENVIRONMENT, facts={})
        for e in (plain, dataclasses.replace(plain, model="m"))
    ]
    beta = [[predict_stored([s], taught=t).coefficients.beta_D[0] for t in (False, True)] for s in stored]
    assert beta == [[1, COUNTS_THAT_COME], [1, 1]]
    q_D = predict_stored([stored[0]], taught=True).coefficients.q_D
    assert q_D == pytest.approx(DISTANCE * plain.scales_D)
