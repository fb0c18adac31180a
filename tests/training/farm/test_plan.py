"""What a farm has done and what is left, found without training anything."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.training.farm.test_farm import publish_trajectories

from dmix.mixing.trajectories.feedback import write_feedback
from dmix.training.farm.plan import default_proxy, farm_file, farm_record, plan_farm
from dmix.training.farm.variations import FASTER, SLOWER
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json


@pytest.fixture
def proxy(tiny_model):
    return ProxySettings(
        config=tiny_model.config, vary=0.0, training=TrainingSettings(batch_size=8, learning_rate=3e-3)
    )


@pytest.fixture
def planned(tiny_warehouse, environment, proxy, request):
    """Makes the plan of a set of three trajectories that is the test's own."""
    name = re.sub(r"\W+", "-", request.node.name).strip("-")

    def make(set_name=name, **changes):
        given = {"environment": environment, "proxy": proxy} | changes
        return plan_farm(tiny_warehouse, set_name, **given)

    make.name = name
    publish_trajectories(tiny_warehouse, name)
    return make


def score(warehouse, plan, *names):
    """Feedback on some trajectories, and the record of the farm, as `collect` leaves them."""
    publish_json(farm_file(warehouse, plan.task.set_name), farm_record(plan.task))
    for name in names:
        write_feedback(
            warehouse,
            set_name=plan.task.set_name,
            trajectory_id=name,
            objectives=("general", "target"),
            scores_TD=np.zeros((4, 2)),
        )


def test_tokens_are_those_of_the_missing_steps(planned, tiny_warehouse):
    plan = planned()
    # two trajectories of three steps and one of two, 24 samples of 16 tokens a step
    assert (len(plan.todo), plan.done, plan.tokens) == (3, 0, (3 + 3 + 2) * 24 * 16)
    score(tiny_warehouse, plan, "static-0000")
    rest = planned()
    assert (len(rest.todo), rest.done, rest.tokens) == (2, 1, (3 + 2) * 24 * 16)


def test_planning_writes_nothing(planned, tiny_warehouse):
    planned()
    assert not tiny_warehouse.feedback(planned.name).exists()


@pytest.mark.parametrize(
    ("change", "named"),
    [({"seed": 5}, "another proxy"), ({"training": TrainingSettings(batch_size=4)}, "another proxy")],
)
def test_another_proxy_does_not_mix_into_the_feedback(planned, tiny_warehouse, proxy, change, named):
    score(tiny_warehouse, planned(), "static-0000")
    with pytest.raises(InputError, match=named):
        planned(proxy=replace(proxy, **change))


def test_scales_are_no_part_of_a_farm_and_weights_are(planned, tiny_warehouse, environment):
    score(tiny_warehouse, planned(), "static-0000")
    assert planned(environment=replace(environment, scales={"target": 3.0})).done == 1
    first, *others = environment.objectives
    heavier = replace(environment, objectives=(replace(first, weight=5.0), *others))
    with pytest.raises(InputError, match="another environment"):
        planned(environment=heavier)


def test_a_record_without_feedback_binds_nobody(planned, tiny_warehouse, proxy):
    score(tiny_warehouse, planned())
    assert planned(proxy=replace(proxy, seed=5)).done == 0


def test_a_base_model_that_is_named_twice_is_refused(planned, proxy):
    with pytest.raises(InputError, match="contains a model twice: a, b, a"):
        planned(proxy=replace(proxy, init="base"), base="a", other_bases=["b", "a"])


def test_the_preset_says_how_many_proxies_are_varied(planned, proxy):
    assert planned().variations == {}
    assert planned(proxy=replace(proxy, vary=None)).task.proxy.vary == 0.25
    names = planned(proxy=replace(proxy, vary=1.0)).variations
    assert sum(names.values()) == 3 and set(names) & {FASTER, SLOWER, *names}


def test_another_share_of_the_target_is_worth_a_word(planned, tiny_warehouse):
    assert planned().warning == ""
    name = f"{planned.name}-other"
    publish_trajectories(tiny_warehouse, name, run_step_samples=48)
    said = planned(name).warning
    assert "a proxy draws 24 samples per step" in said and "draws 48." in said
    assert "--samples-per-step 48, or" in said and "--run-samples-per-step 24" in said


@pytest.mark.parametrize(("base", "init"), [(None, "scratch"), ("a", "base")])
def test_the_usual_proxy_takes_the_batch_of_the_set(planned, base, init):
    proxy = default_proxy(planned().found, base=base)
    assert (proxy.init, proxy.training.batch_size) == (init, 8)
