"""Mixtures that regressions learn from: half tilts of natural mixing, half drawn from afar.

A regression needs distinct mixtures: near natural mixing, where good ones are, and far enough away to
see what domains do. Shapes: M mixtures, N domains.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.regression.search import simulated_mixtures
from dmix.mixing.space.domains import DomainSpace, Vector

DESIGN = 64

LEAST_FACTOR, GREATEST_FACTOR = 0.25, 3.0
"""Range of target shares where a field has one domain alone, in units of the natural share."""

_GREATEST_SHARE = 0.95


def design_mixtures(
    space: DomainSpace, *, largest_N: Vector, count: int = DESIGN, seed: int = 0
) -> NDArray[np.float64]:
    """The first half tilts (`tilts`), the others drawn target share first (method §2), shape (M, N).

    Args:
        space: The domain space.
        largest_N: Shares that the supply allows, for the tilts.
        count: M.
        seed: Of the draws.
    """
    near = tilts(space, count=count // 2, seed=seed, largest_N=largest_N)
    return np.vstack([near, simulated_mixtures(space, number=count - len(near), seed=seed)])


def tilts(space: DomainSpace, *, count: int, seed: int, largest_N: Vector) -> NDArray[np.float64]:
    """Mixtures at the natural target share: each domain's share times e^z, z standard normal.

    Where each field has one domain, nothing can be tilted, and target shares from a quarter to three times
    the natural one take their place.

    Args:
        space: The domain space.
        count: M.
        seed: Of z; mixture m is the same whatever `count` is.
        largest_N: Shares that the supply allows; what exceeds them goes to the other domains of the field.

    Returns:
        Shape (M, N), each row summing to 1.
    """
    fields = [np.flatnonzero(space.active_N & (space.target_N == target)) for target in (False, True)]
    if all(len(own) == 1 for own in fields):
        natural = float(space.natural_N[fields[1]].sum())
        factors_M = np.geomspace(LEAST_FACTOR, GREATEST_FACTOR, count)
        shares_M = np.minimum(natural * factors_M, min(_GREATEST_SHARE, float(largest_N[fields[1]].sum())))
        return space.expand(np.stack([1 - shares_M, shares_M], axis=1))
    found = []
    for number in range(count):
        z_N = np.random.default_rng([seed, number]).standard_normal(len(space))
        mixture_N = np.zeros(len(space))
        for own in fields:
            weights = space.natural_N[own] * np.exp(z_N[own])
            total = float(space.natural_N[own].sum())
            mixture_N[own] = _within(weights, total=total, largest=largest_N[own])
        found.append(mixture_N)
    return np.stack(found)


def _within(weights: Vector, *, total: float, largest: Vector) -> Vector:
    """Shares in proportion to weights that sum to `total`, none above its largest one if that can be."""
    given = np.zeros(len(weights))
    free = np.ones(len(weights), dtype=bool)
    while free.any():
        left = total - given[~free].sum()
        shares = left * weights / weights[free].sum()
        full = free & (shares > largest)
        if not full.any() or largest.sum() < total:
            given[free] = shares[free]
            return given
        given[full] = largest[full]
        free &= ~full
    return given


def largest_shares(space: DomainSpace, *, max_passes: int, run_samples: int) -> Vector:
    """Shares of a whole run that the supply of each domain allows, shape (N,)."""
    return max_passes * space.samples_N / run_samples
