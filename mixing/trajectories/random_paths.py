"""The part of a `default` farm that no score steers: static runs and piecewise-constant ones.

Algorithm 1 alone never shows what holding a mixture, jumping between extremes or ending near the
source does (method §2, "Coverage"). Static runs take their target shares from equal strata of
Beta(1/2, 1/2). Each segment path is the best of a number of random plans, judged by how many
(target share x step) cells it would visit that few paths visit so far; the early stop removes
target-heavy paths from late steps, so plain chance would leave those cells empty.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.candidates import HierarchicalDistribution, beta_half_quantile
from dmix.mixing.trajectories.coverage import share_cell

LONGEST_SEGMENT = 10
_PLANS = 64

Paths = list[NDArray[np.float64]]


def random_paths(
    *,
    start_A: Vector,
    distribution: HierarchicalDistribution,
    static: int,
    segments: int,
    steps: int,
    target_steps: float,
    seed: int,
) -> tuple[Paths, Paths]:
    """Static and segment paths over the active domains, entry 0 of each rho_s.

    Args:
        start_A: rho_s.
        distribution: Where compositions within fields come from.
        static: Number of paths that hold one mixture.
        segments: Number of paths made of segments of 1 to 10 steps.
        steps: M.
        target_steps: |T| / R, see `stop_step`.
        seed: Seed of the set.

    Returns:
        (static paths, segment paths), each of shape (T, A) with T <= M + 1.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    counts_ZM = np.zeros((share_cell(np.ones(1))[0] + 1, steps), dtype=np.int64)
    strata = (rng.permutation(static) + rng.random(static)) / max(1, static)
    plans = [np.full(steps, share) for share in beta_half_quantile(strata)]
    for plan_M in plans:
        _count(counts_ZM, plan_M[: stop_step(plan_M, target_steps)])
    for _ in range(segments):
        drawn = [_segment_plan(rng, steps) for _ in range(_PLANS)]
        gains = [_gain(counts_ZM, plan_M[: stop_step(plan_M, target_steps)]) for plan_M in drawn]
        plans.append(drawn[int(np.argmax(gains))])
        _count(counts_ZM, plans[-1][: stop_step(plans[-1], target_steps)])
    paths = [
        _path(plan_M, start_A=start_A, distribution=distribution, target_steps=target_steps, rng=rng)
        for plan_M in plans
    ]
    return paths[:static], paths[static:]


def stop_step(share_M: Vector, target_steps: float) -> int:
    """Steps that a path with these target shares makes until the early stop or its end."""
    reached = np.cumsum(share_M) >= target_steps
    return int(reached.argmax()) + 1 if reached.any() else len(share_M)


def _segment_plan(rng: np.random.Generator, steps: int) -> Vector:
    """Target shares of M steps: segments of 1 to 10 steps, shares from Beta(1/2, 1/2)."""
    lengths = rng.integers(1, LONGEST_SEGMENT + 1, size=steps)
    shares = beta_half_quantile(rng.random(steps))
    return np.repeat(shares, lengths)[:steps]


def _path(
    plan_M: Vector,
    *,
    start_A: Vector,
    distribution: HierarchicalDistribution,
    target_steps: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """The mixtures of a plan: one composition for each run of equal shares."""
    plan_M = plan_M[: stop_step(plan_M, target_steps)]
    shares, segment_M = np.unique(plan_M, return_inverse=True)
    return np.vstack([start_A, distribution.mixtures(rng, shares)[segment_M]])


def _count(counts_ZM: NDArray[np.int64], shares: Vector) -> None:
    np.add.at(counts_ZM, (share_cell(shares), np.arange(len(shares))), 1)


def _gain(counts_ZM: NDArray[np.int64], shares: Vector) -> float:
    """Cells visited, each worth the less the more paths visit it already."""
    return float((1.0 / (1 + counts_ZM[share_cell(shares), np.arange(len(shares))]) ** 2).sum())
