"""Static and segment paths of a `default` farm."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.candidates import HierarchicalDistribution
from dmix.mixing.trajectories.random_paths import LONGEST_SEGMENT, random_paths, stop_step

SPACE = DomainSpace(("a", "b", "c"), np.array([60, 30, 10, 75, 0, 25]))


def made(**changes):
    given = {"static": 6, "segments": 9, "steps": 30, "target_steps": 12.0, "seed": 0} | changes
    return random_paths(
        start_A=SPACE.start_N[SPACE.active_N], distribution=HierarchicalDistribution(SPACE), **given
    )


def test_stop_comes_with_the_step_that_reaches_the_supply():
    assert stop_step(np.array([0.5, 0.5, 0.5]), 1.0) == 2
    assert stop_step(np.array([0.5, 0.5, 0.5]), 1.1) == 3
    assert stop_step(np.array([0.5, 0.5, 0.5]), 9.0) == 3


def test_every_path_starts_at_rho_s_and_stays_on_the_simplex():
    for path in [path for kind in made() for path in kind]:
        assert path[0] == pytest.approx(SPACE.start_N[SPACE.active_N])
        assert path.sum(1) == pytest.approx(np.ones(len(path)))
        assert (path >= 0).all()
        assert len(path) <= 31


def test_static_paths_hold_one_mixture_and_spread_over_all_shares():
    static, _ = made()
    assert all(np.array_equal(path[1:], np.broadcast_to(path[1], path[1:].shape)) for path in static)
    shares = sorted(path[1, 3:].sum() for path in static)
    assert shares[0] < 0.1
    assert shares[-1] > 0.9


def test_segments_are_one_to_ten_steps_long():
    _, segments = made(target_steps=100.0)
    for path in segments:
        changes = np.flatnonzero((np.diff(path[1:], axis=0) != 0).any(1)) + 1
        lengths = np.diff([0, *changes, len(path) - 1])
        assert lengths.min() >= 1
        assert lengths.max() <= LONGEST_SEGMENT


def test_paths_depend_on_the_seed_alone():
    again, other = made(), made(seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(made()[1], again[1], strict=True))
    assert not np.array_equal(made()[0][0][1], other[0][0][1])


def test_none_wanted_gives_none():
    assert made(static=0, segments=0) == ([], [])
