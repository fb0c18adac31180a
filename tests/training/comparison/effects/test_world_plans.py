"""What fitting worlds taught, on file and in the controllers of other worlds."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.training.comparison.effects.stored_runs import LinearCounts

from dmix.mixing.controllers.effect import EffectController
from dmix.mixing.effects.effects import Effects
from dmix.mixing.space.domains import DomainSpace
from dmix.training.comparison.effects.world_plans import (
    AGENT,
    COUNTS_PLAN,
    LADDER,
    NATURAL,
    PLAIN,
    PLAN,
    PRIORS_FILE,
    WorldPriors,
    planned_mixture,
    priors_file,
    read_priors,
    world_controller,
    world_prediction,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError

SPACE = DomainSpace(("a",), np.array([60, 40]))
SETTINGS = SimpleNamespace(run_samples=50, max_passes=4)
PRIORS = WorldPriors(
    beta=0.5,
    gamma=0.25,
    q=0.1,
    natural_gain={"general": 1.0, "target": 2.0},
    drift=0.1,
    scale=0.2,
    direction=0.3,
    noise=0.4,
)


def stored(effect_ND, *, estimator="counts"):
    effects = Effects(
        estimator=estimator,
        dataset="d",
        environment="e",
        names=SPACE.names,
        natural_N=SPACE.natural_N,
        objectives=("g", "t"),
        roles=("general", "target"),
        effect_ND=effect_ND,
        errors=(np.zeros((1, 2)),) * 2,
    )
    return SimpleNamespace(effects=effects, counts=LinearCounts(effect_ND))


# relative to natural shares 0.6 and 0.4: text of the target helps both, the target much more
COUNTS = stored(np.array([[-0.002, -1.0], [0.003, 1.5]]))
GRADIENTS = stored(np.array([[0.0, -2.0], [0.0, 3.0]]), estimator="gradient")


def test_a_world_of_the_ladder_has_priors_of_its_own():
    file = Path("worlds/ladder-03.yaml")
    assert priors_file(file, "held-out") == Path("worlds", PRIORS_FILE)
    assert priors_file(file, LADDER) == Path("worlds/priors-ladder-03.json")


def test_priors_come_back_from_their_file(tmp_path):
    file = tmp_path / PRIORS_FILE
    with pytest.raises(NotFoundError, match="worlds fit"):
        read_priors(file)
    file.write_text(json.dumps(asdict(PRIORS)))
    assert read_priors(file) == PRIORS and read_priors(file).digest(AGENT) == PRIORS.digest(AGENT)
    file.write_text(json.dumps({"beta": 1.0}))
    with pytest.raises(InputError, match="damaged"):
        read_priors(file)


def test_every_number_of_the_priors_is_in_their_hash():
    changes = [{name: 9.0} for name in ("beta", "gamma", "q", "drift", "scale", "direction", "noise")]
    changes += [{"natural_gain": {"general": 0.0, "target": 0.0}}, {"worlds": 3}]
    changes.append({"saturation": 2.0})
    digests = {replace(PRIORS, **change).digest(AGENT) for change in changes} | {PRIORS.digest(AGENT)}
    assert len(digests) == len(changes) + 1
    assert replace(PRIORS, saturation=2.0).digest(PLAN) == PRIORS.digest(PLAN)
    assert replace(PRIORS, beta=2.0).digest(PLAN) != PRIORS.digest(PLAN)


def test_scales_have_a_floor():
    scales_D = COUNTS.effects.scales_D
    assert scales_D.tolist() == [0.01, COUNTS.effects.signal_D[1]] and scales_D[1] > 0.1


def test_a_prediction_takes_each_prior_at_its_place():
    mixture_N = np.array([0.5, 0.5])
    prediction = world_prediction(COUNTS, GRADIENTS, replace(PRIORS, q=0.0))
    scales_D = COUNTS.effects.scales_D
    # 0.5 of what counts promise, 0.25 of what gradients promise: 0.1 * 2.5 and 0.1 * 5
    assert prediction.gains(mixture_N)[1] == pytest.approx(0.5 * 0.25 + 0.25 * 0.5)
    assert prediction.scores(SPACE.natural_N)[1] == pytest.approx(2.0 * scales_D[1])
    bent = world_prediction(COUNTS, GRADIENTS, PRIORS)
    assert bent.gains(mixture_N)[1] < prediction.gains(mixture_N)[1]


def test_gradients_without_weight_are_left_out():
    for gradients, priors in ((None, PRIORS), (GRADIENTS, replace(PRIORS, gamma=0.0))):
        assert len(world_prediction(COUNTS, gradients, priors).sources) == 1


def plan(spec, **changes):
    given = {"counts": COUNTS, "gradients": GRADIENTS, "priors": PRIORS, "weights_D": np.array([0.5, 0.5])}
    return planned_mixture(spec, SETTINGS, SPACE, **given | changes)


def test_the_plan_of_counts_follows_no_fit():
    assert np.array_equal(plan(COUNTS_PLAN), plan(COUNTS_PLAN, priors=replace(PRIORS, beta=0.0)))
    assert np.array_equal(plan(COUNTS_PLAN), plan(PLAN, priors=PLAIN, gradients=None))
    assert plan(PLAN)[1] > SPACE.natural_N[1], "the target gains, and nothing is lost"


def test_a_world_keeps_the_field_that_nobody_heard():
    deaf = stored(COUNTS.effects.effect_ND * [0.0, 1.0])
    assert plan(PLAN, counts=deaf) == pytest.approx(SPACE.natural_N)


def test_each_name_is_its_controller():
    def controller(spec):
        given = {"counts": COUNTS, "gradients": GRADIENTS, "priors": PRIORS}
        return world_controller(spec, SETTINGS, SPACE, weights_D=np.array([0.5, 0.5]), **given)

    assert controller(NATURAL).name == NATURAL and controller(PLAN).name == PLAN
    assert isinstance(controller(AGENT), EffectController)
