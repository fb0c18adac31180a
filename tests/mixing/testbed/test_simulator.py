from dataclasses import replace

import numpy as np
import pytest
from tests.mixing.testbed.simulator import Simulator, best_schedule, best_static

from dmix.warehouse_schema.errors import InputError


def random_schedules(number, simulator, seed=0):
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.ones(simulator.num_domains), (number, simulator.steps))


def test_one_step_by_hand():
    schedule = np.array([[[1.0, 0, 0, 0, 0, 0]]])
    scores = Simulator().scores(schedule)[0]
    np.testing.assert_allclose(scores[0], [-np.exp(-1), -1])
    # general: 0.8 * 1 + 0.30, target: 0.96 * 0 - 0.02; nothing repeats after one step
    np.testing.assert_allclose(scores[1], [-np.exp(-1.10), -np.exp(0.02)])


def test_repetition_costs_half_the_price_times_the_squared_excess():
    schedule = np.tile([0.0, 0, 0, 1, 0, 0], (1, 5, 1))
    free = Simulator(repetition_price=0.0)
    # exposure 5, capacity 3: 0.02 / 2 * 2 ** 2
    np.testing.assert_allclose(free.scores(schedule)[0, 5] - Simulator().scores(schedule)[0, 5], 0.04)


def test_gradient_equals_finite_differences():
    simulator = Simulator()
    schedule = 2 * random_schedules(1, simulator)[0]  # doubled, so that capacities are passed
    gradient = simulator.gradient(schedule)
    for step, domain in [(0, 0), (7, 3), (19, 5)]:
        shift = np.zeros_like(schedule)
        shift[step, domain] = 1e-6
        slope = (simulator.gain((schedule + shift)[None]) - simulator.gain((schedule - shift)[None]))[
            0
        ] / 2e-6
        assert slope == pytest.approx(gradient[step, domain], abs=1e-8)


def test_reference_values_of_the_default_problem():
    simulator = Simulator()
    gains = simulator.gain(random_schedules(300, simulator))
    optimum, static = best_schedule(simulator), best_static(simulator)
    assert optimum.gap < 1e-4
    assert optimum.gain == pytest.approx(0.348, abs=1e-3)
    assert static.gain == pytest.approx(0.223, abs=1e-3)
    assert gains.mean() == pytest.approx(0.155, abs=2e-3)
    assert gains.max() == pytest.approx(0.228, abs=2e-3)
    assert (simulator.gain(random_schedules(2000, simulator, seed=1)) <= optimum.gain + optimum.gap).all()


def test_two_domains_agree_with_a_grid():
    simulator = Simulator().restricted([0, 3], steps=3)
    shares = np.linspace(0, 1, 41)
    grid = np.stack(np.meshgrid(shares, shares, shares), -1).reshape(-1, 3)
    best_on_grid = simulator.gain(np.stack([1 - grid, grid], -1)).max()
    optimum = best_schedule(simulator)
    assert best_on_grid - 1e-12 <= optimum.gain + optimum.gap
    assert optimum.gain == pytest.approx(best_on_grid, abs=1e-4)


def test_without_recency_a_static_mixture_is_best():
    simulator = replace(Simulator(), forgetting_K=np.zeros(2))
    assert best_static(simulator).gain == pytest.approx(best_schedule(simulator).gain, abs=2e-4)


def test_wrong_width_names_the_wanted_shape():
    with pytest.raises(InputError, match=r"expected \(schedules, steps, 6\)"):
        Simulator().scores(np.ones((1, 2, 5)))
