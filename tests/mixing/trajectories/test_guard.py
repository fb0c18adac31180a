"""Guard rails: limits from a farm, projections worked by hand, alarms, shadow mode."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.guard import (
    alarms,
    farm_limits,
    guarded,
    kl_of_steps,
    oscillation,
    within_bounds,
    within_change,
)
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError

SPACE = DomainSpace(("a", "b"), np.array([600, 200, 300, 100]))
SOURCE, MIXED = np.array([0.75, 0.25, 0, 0]), np.array([0.4, 0.2, 0.3, 0.1])


def history(*mixtures, left=(600, 200, 300, 100)):
    return History(
        space=SPACE,
        mixtures_TN=np.array(mixtures, float),
        feedback_TD=np.zeros((len(mixtures), 1)),
        objectives=("general",),
        weights_D=np.ones(1),
        scales_D=np.ones(1),
        steps=8,
        step_samples=100,
        remaining_samples_N=np.array(left),
        seed=0,
    )


def farm(number=40, steps=8, seed=0):
    """Slow walks in the simplex that stray a little."""
    rng = np.random.default_rng(seed)
    paths = []
    for index in range(number):
        goal = rng.dirichlet(np.ones(4) * 5)
        blend = np.linspace(0, 1, steps + 1)[:, None]
        mixtures = (1 - blend) * SOURCE + blend * goal
        mixtures[1:] = 0.95 * mixtures[1:] + 0.05 * rng.dirichlet(np.ones(4) * 5, size=steps)
        paths.append(Trajectory(trajectory_id=f"p{index}", kind="segments", top_k=None, mixtures_TN=mixtures))
    return paths


def test_kl_of_a_step_by_hand():
    found = kl_of_steps(np.array([[0.5, 0.5], [0.25, 0.75]]))
    assert found[0] == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75), abs=1e-7)


def test_wobble_is_0_on_a_straight_path_and_the_way_back_otherwise():
    straight = np.linspace([1.0, 0], [0, 1], 5)
    assert oscillation(straight) == pytest.approx(0)
    there_and_back = np.array([[1.0, 0], [0, 1], [1, 0]])
    assert oscillation(there_and_back) == pytest.approx(2)
    assert oscillation(np.array([[1.0, 0]])) == 0


def test_limits_hold_for_all_but_a_hundredth_of_the_farm_s_steps():
    paths = farm()
    limits = farm_limits(paths, quantile=0.99)
    later = np.concatenate([kl_of_steps(p.mixtures_TN)[1:] for p in paths])
    assert 0.98 <= (later <= limits.largest_kl).mean() <= 1
    stacked = np.concatenate([p.mixtures_TN[1:] for p in paths])
    assert (stacked <= limits.ceilings_N + 1e-12).mean() >= 0.98
    assert (stacked >= limits.floors_N - 1e-12).mean() >= 0.98


def test_limits_need_steps_and_a_quantile():
    only_start = Trajectory(trajectory_id="p", kind="static", top_k=None, mixtures_TN=SOURCE[None])
    with pytest.raises(InputError, match="no trajectory has a step"):
        farm_limits([only_start])
    with pytest.raises(InputError, match=r"quantile is 0.2"):
        farm_limits(farm(), quantile=0.2)


def test_bounds_by_hand():
    # the first is cut to 0.5; the rest keeps its proportions 2 : 1 and fills up to 1
    bounded = within_bounds(np.array([0.7, 0.2, 0.1]), np.zeros(3), np.array([0.5, 1, 1]))
    np.testing.assert_allclose(bounded, [0.5, 1 / 3, 1 / 6], atol=1e-9)
    # the last is raised to 0.3; the rest keeps 7 : 2
    bounded = within_bounds(np.array([0.7, 0.2, 0.1]), np.array([0, 0, 0.3]), np.ones(3))
    np.testing.assert_allclose(bounded, [0.7 * 7 / 9, 0.7 * 2 / 9, 0.3], atol=1e-9)


def test_ceilings_below_1_are_filled_in_proportion():
    bounded = within_bounds(np.array([1.0, 0, 0]), np.zeros(3), np.array([0.2, 0.2, 0]))
    np.testing.assert_allclose(bounded, [0.5, 0.5, 0], atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000))
def test_bounds_hold_for_random_mixtures(seed):
    rng = np.random.default_rng(seed)
    floors, ceilings = rng.dirichlet(np.ones(5)) * 0.5, rng.dirichlet(np.ones(5)) + 0.3
    floors = np.minimum(floors, ceilings)
    bounded = within_bounds(rng.dirichlet(np.full(5, 0.3)), floors, ceilings)
    assert bounded.sum() == pytest.approx(1)
    assert (bounded >= floors - 1e-9).all()
    assert (bounded <= ceilings + 1e-9).all()


def test_change_stops_exactly_at_the_limit():
    last, wanted = np.array([0.5, 0.5]), np.array([0.01, 0.99])
    kept = within_change(last, wanted, 0.1)
    assert kl_of_steps(np.stack([last, kept]))[0] == pytest.approx(0.1, abs=1e-6)
    assert kept[0] < 0.5
    np.testing.assert_array_equal(within_change(last, wanted, 10.0), wanted)


def test_what_is_left_of_a_domain_is_a_ceiling():
    limits = farm_limits(farm())
    # 5 samples are left of the last domain, a step takes 100
    kept = guarded(history(SOURCE, MIXED, left=(600, 200, 300, 5)), np.array([0.2, 0.2, 0.2, 0.4]), limits)
    assert kept[3] < MIXED[3]
    assert kept.sum() == pytest.approx(1)


def test_quiet_mixture_of_the_farm_passes_untouched():
    limits = farm_limits(farm())
    step = 0.95 * MIXED + 0.05 * np.array([0.3, 0.25, 0.3, 0.15])
    seen = history(SOURCE, 0.5 * SOURCE + 0.5 * MIXED, MIXED)
    assert alarms(seen, step, limits) == []
    np.testing.assert_allclose(guarded(seen, step, limits), step, atol=1e-9)


def test_alarms_tell_random_start_oscillation_and_collapse():
    limits = farm_limits(farm())
    assert "random start" in alarms(history(SOURCE), np.array([0, 0, 0.5, 0.5]), limits)[0]
    to_and_fro = [SOURCE, MIXED, SOURCE, MIXED, SOURCE, MIXED]
    assert any("oscillation" in alarm for alarm in alarms(history(*to_and_fro), SOURCE, limits))
    seen = history(SOURCE, MIXED)
    assert any("collapse" in alarm for alarm in alarms(seen, np.array([0, 0, 0, 1.0]), limits))
