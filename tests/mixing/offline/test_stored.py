"""A farm as it is stored: scales, weights and objectives with and without an environment."""

import numpy as np
import pytest
from tests.manifests import trajectory_set

from dmix.mixing.offline.stored import StoredFarm
from dmix.mixing.trajectories.feedback import Feedback
from dmix.mixing.trajectories.objectives import Environment, Objective

SET = trajectory_set(
    (("source", "a"), ("target", "a")),
    (10, 30),
    steps=4,
    preset="paper",
    settings={"max_passes": 2},
    step_samples=5,
)
# scores of `learn` have deviation 1, those of `keep` 0.5
FEEDBACK = Feedback(
    objectives=("learn", "keep"),
    scores={"t": np.array([[-3.0, -2.0], [-1.0, -1.0]])},
    variations={"t": ""},
    planned={"t": None},
)
NOTHING = Feedback(objectives=(), scores={}, variations={}, planned={})


def objective(name, role, weight):
    return Objective(name=name, role=role, kind="qa", path=f"{name}.jsonl", weight=weight)


def environment(**scales):
    found = (objective("keep", "general", 1.0), objective("learn", "target", 3.0))
    return Environment(objectives=found, scales=scales)


def farm(feedback=FEEDBACK, environment=None):
    return StoredFarm(found=SET, feedback=feedback, environment=environment, trajectories=())


@pytest.mark.parametrize(
    ("given", "scales"),
    [
        (None, [1.0, 0.5]),
        (environment(), [1.0, 0.5]),
        (environment(keep=7.0), [1.0, 0.5]),
        (environment(keep=7.0, learn=9.0), [9.0, 7.0]),
    ],
)
def test_scales_are_those_of_the_environment_where_it_has_them_all(given, scales):
    assert farm(environment=given).scales_D.tolist() == scales


def test_weights_come_in_the_order_of_the_feedback():
    assert farm(environment=environment()).weights_D.tolist() == [0.75, 0.25]
    assert farm().weights_D.tolist() == [0.5, 0.5]
    assert len(farm(NOTHING).weights_D) == 0


def test_a_set_agent_is_told_the_roles_where_they_are_known():
    told = farm(environment=environment()).context(as_sets=True).objective_spec
    untold = farm().context(as_sets=True).objective_spec
    assert told.weights_D.tolist() == [0.75, 0.25]
    assert list(told.roles_D) != list(untold.roles_D)
    assert farm().context(as_sets=False).objective_spec is None
    # two passes over 30 samples, five a step
    assert farm().context(as_sets=False).supply_N.tolist() == [4.0, 12.0]


@pytest.mark.parametrize(
    ("asked", "as_sets", "preset"),
    [
        (None, False, "paper"),
        ("default", False, "default"),
        ("paper", True, "default"),
        (None, True, "default"),
    ],
)
def test_the_preset_is_the_asked_one_or_the_sets_but_for_set_agents(asked, as_sets, preset):
    assert farm().preset(asked, as_sets=as_sets) == preset
