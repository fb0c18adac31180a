"""MixMin: the convex problem by hand, and the controller on stored effects."""

import numpy as np
import pytest

from dmix.mixing.controllers.mixmin import item_chances, mixmin, probe_chances, probed_mixtures
from dmix.mixing.controllers.registry import make_controller, prepare_controller
from dmix.mixing.effects.counts import CountModel, ScoredTokens
from dmix.mixing.effects.effects import Effects
from dmix.mixing.effects.store import StoredEffects, write_effects
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


def test_two_domains_share_by_the_weights_of_the_items_that_each_alone_explains():
    # -3/4 log(rho_1) - 1/4 log(rho_2) has its least value at (3/4, 1/4)
    log_chance = np.log(np.array([[1.0, 1e-30], [1e-30, 1.0]]))
    found, gap = mixmin(log_chance, np.array([3.0, 1.0]))
    assert found == pytest.approx([0.75, 0.25], abs=1e-6)
    assert 0 <= gap < 1e-5


def test_an_optimum_on_paper_with_overlap():
    # item 1 has chances 0.8, 0.2, item 2 has 0.4, 0.6: with x of the first domain, log(0.2 + 0.6 x) +
    # log(0.6 - 0.2 x) has the derivative 0.6 / (0.2 + 0.6 x) - 0.2 / (0.6 - 0.2 x) = 0 at x = 4/3 > 1
    found, _ = mixmin(np.log(np.array([[0.8, 0.2], [0.4, 0.6]])), np.ones(2))
    assert found == pytest.approx([1, 0], abs=1e-3)
    # three times the second: 0.6 / (0.2 + 0.6 x) = 0.6 / (0.6 - 0.2 x) at x = 1/2
    found, _ = mixmin(np.log(np.array([[0.8, 0.2], [0.4, 0.6]])), np.array([1.0, 3.0]))
    assert found == pytest.approx([0.5, 0.5], abs=1e-4)


def test_only_differences_of_log_probabilities_within_an_item_count():
    rng = np.random.default_rng(0)
    logs, weights = rng.normal(-300, 3, (40, 5)), rng.random(40)
    plain, _ = mixmin(logs, weights)
    moved, _ = mixmin(logs - rng.normal(0, 50, (40, 1)), weights)
    assert moved == pytest.approx(plain, abs=1e-9)


def test_no_mixture_beats_the_optimum_by_more_than_the_gap():
    rng = np.random.default_rng(1)
    logs, weights = rng.normal(-5, 2, (60, 4)), rng.random(60)
    found, gap = mixmin(logs, weights)

    def gain(mixture):
        return weights @ np.log(np.exp(logs) @ mixture)

    others = rng.dirichlet(np.ones(4) * 0.5, 500)
    assert max(gain(other) for other in others) <= gain(found) + gap + 1e-12


@pytest.fixture
def counts(space):
    """Two items of two and one tokens; the third active domain explains all of them best."""
    tokens = ScoredTokens(
        objective_R=np.zeros(3, np.int32),
        item_R=np.array([0, 0, 1], np.int32),
        previous_R=np.zeros(3, np.int64),
        token_R=np.array([1, 2, 3]),
        weight_R=np.array([0.25, 0.25, 0.5]),
    )
    chances = np.array([[0.5, 0.1, 0.9], [0.5, 0.1, 0.9], [0.2, 0.1, 0.8]], np.float32)
    active = np.flatnonzero(space.active_N)
    return CountModel(tokens=tokens, active=active, size=4, p_RA=chances, alpha_D=np.ones(1))


def test_items_multiply_their_tokens_and_weigh_as_one_of_them(counts):
    logs, weights = item_chances(counts, np.ones(1))
    assert logs == pytest.approx(np.log([[0.25, 0.01, 0.81], [0.2, 0.1, 0.8]]), abs=1e-6)
    assert weights.tolist() == [0.25, 0.5]


def stored(tmp_path, space, counts):
    (tmp_path / "x.jsonl").write_text('{"id": "1", "text": "abcd"}\n')
    objective = Objective(name="x", role="target", kind="continuation", path="x.jsonl")
    effects = Effects(
        name="measured",
        estimator="probe" if counts is None else "counts",
        dataset="d",
        environment="e",
        names=space.names,
        natural_N=space.natural_N,
        objectives=("x",),
        roles=("target",),
        effect_ND=np.zeros((4, 1)),
        errors=(0.01 * np.diag(space.active_N),),
    )
    environment = Environment(objectives=(objective,), folder=str(tmp_path))
    warehouse = Warehouse.at(tmp_path / "warehouse")
    write_effects(warehouse, StoredEffects(effects=effects, counts=counts, environment=environment, facts={}))
    return warehouse


def test_the_controller_is_prepared_and_constant(tmp_path, space, history, counts):
    warehouse = stored(tmp_path, space, counts)
    with pytest.raises(NotFoundError, match="mixmin"):
        make_controller("mixmin", warehouse=warehouse, space=space)
    prepare_controller("mixmin:measured", warehouse=warehouse, space=space, progress=lambda line: None)
    controller = make_controller("mixmin", warehouse=warehouse, space=space)
    for step in (1, 4):
        assert controller.propose(history(step)).mixture_N == pytest.approx([0, 0, 0, 1], abs=1e-3)


def test_effects_without_probabilities_are_refused(tmp_path, space):
    warehouse = stored(tmp_path, space, None)
    with pytest.raises(InputError, match="no probabilities of items"):
        make_controller("mixmin", warehouse=warehouse, space=space)


def test_probes_are_models_of_their_mixtures_and_controls_are_one_of_natural_mixing(space):
    probes = [
        {"probe": "control-01", "domains": [], "dose": 0.0},
        {"probe": "probe-01", "domains": ["target/News", "target/Law"], "dose": 0.5},
    ]
    names, mixtures = probed_mixtures(probes, space)
    assert names == ["probe-01"]
    assert mixtures[0] == pytest.approx([0.3, 0, 0.5, 0.2])
    assert mixtures[1] == pytest.approx([0.15, 0, 0.25 + 0.5 * 5 / 7, 0.1 + 0.5 * 2 / 7])


def test_scores_of_probes_become_log_probabilities_of_items():
    rows = [
        {"probe": probe, "objective": "x", "item": item, "score": score}
        for probe, scores in {
            "before": (-9, -9),
            "control-01": (-2, -1),
            "control-02": (-3, -1),
            "probe-01": (-1, -4),
        }.items()
        for item, score in zip(("a", "b"), scores, strict=True)
    ]
    logs, items = probe_chances(rows, {("x", "a"): 2, ("x", "b"): 3}, ["probe-01"])
    assert items == [("x", "a"), ("x", "b")]
    # two tokens of -2 and -3: the mean of exp(-4) and exp(-6)
    assert logs[0] == pytest.approx([np.log((np.exp(-4) + np.exp(-6)) / 2), -2])
    assert logs[1] == pytest.approx([-3, -12])
