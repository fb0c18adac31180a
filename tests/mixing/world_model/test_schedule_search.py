"""Schedules found through learned models, on the simulator whose best schedule is known (method §6)."""

import numpy as np
import pytest
from tests.mixing.testbed.simulated import random_schedules, simulated_context, simulated_episodes
from tests.mixing.testbed.simulator import Simulator, best_schedule

from dmix.mixing.world_model.schedule_search import ScheduleSettings, _end, find_schedule

INFINITE = float("inf")


@pytest.mark.slow
def test_reference_problem_is_solved_better_than_any_schedule_of_the_farm():
    simulator = Simulator()
    schedules = random_schedules(simulator, number=400, seed=0)
    found = find_schedule(
        simulated_episodes([simulator], schedules, np.random.default_rng(0)),
        context=simulated_context(simulator),
        weights_D=simulator.weights_K,
        target_steps=INFINITE,
        settings=ScheduleSettings(),
        progress=lambda line: None,
    )
    gain = float(simulator.gain(found.mixtures_TN[None])[0])
    random = simulator.gain(np.random.default_rng(0).dirichlet(np.ones(6), (2000, 20))).mean()
    assert (gain - random) / (best_schedule(simulator, tolerance=1e-3).gain - random) >= 0.7
    assert gain > simulator.gain(schedules).max()
    assert found.mixtures_TN.sum(1) == pytest.approx(np.ones(20), abs=1e-12)


def test_a_run_ends_where_the_target_is_covered():
    context = simulated_context(Simulator().restricted([0, 3], steps=4))
    schedule = np.tile([0.5, 0.5], (4, 1))
    assert _end(schedule, context, INFINITE) == 4
    assert _end(schedule, context, 1.0) == 2
