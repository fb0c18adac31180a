"""What all proxies of a farm share, and what follows from it for each."""

from dataclasses import replace

import numpy as np
import pytest

from dmix.training.farm.task import asked_mixtures, order_seed, plan_of
from dmix.training.farm.variations import FASTER


@pytest.mark.parametrize(("passes", "rule"), [(1, "redistribute"), (4, "repeat")])
def test_exhausted_domains_hand_over_or_repeat(task, trajectory, passes, rule):
    training = replace(task.proxy.training, batch_size=4, seed=3)
    plan = plan_of(replace(task, max_passes=passes), trajectory, training=training)
    assert (plan.exhaustion, plan.max_passes, plan.step_samples, plan.batch_size) == (rule, passes, 16, 4)
    assert plan.seed == order_seed(trajectory.trajectory_id, seed=3)


def test_nothing_varies_without_a_share(task, space):
    assert {task.variation(f"static-{n}", space=space) for n in range(20)} == {""}
    all_varied = replace(task, proxy=replace(task.proxy, vary=1.0))
    found = {all_varied.variation(f"static-{n}", space=space) for n in range(20)}
    assert "" not in found and FASTER in found


def test_the_usual_proxy_is_asked_for_the_mixtures_of_its_trajectory(task, trajectory, space):
    assert np.array_equal(asked_mixtures(task, trajectory, space=space), trajectory.mixtures_TN)


def test_every_trajectory_draws_samples_of_its_own():
    seeds = {order_seed(f"static-{n:04d}", seed=seed) for n in range(50) for seed in (0, 1)}
    assert len(seeds) == 100 and all(0 <= seed < 2**32 for seed in seeds)
    assert order_seed("static-0000", seed=0) == order_seed("static-0000", seed=0)
