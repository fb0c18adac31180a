"""Mixtures that an objective is tried on before any controller runs (method §7).

Shapes: M mixtures, N domains.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings

LEAST_FACTOR, GREATEST_FACTOR = 0.25, 3.0
"""Range of target shares where a field has one domain alone, in units of the natural share."""

_GREATEST_SHARE = 0.95


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


def setting_tilts(settings: ComparisonSettings, space: DomainSpace, *, count: int) -> NDArray[np.float64]:
    """The mixtures of a setting's yardstick, shape (M, N)."""
    largest_N = largest_shares(space, max_passes=settings.max_passes, run_samples=settings.run_samples)
    return tilts(space, count=count, seed=settings.seed, largest_N=largest_N)


def tilt_of(spec: str, settings: ComparisonSettings, space: DomainSpace) -> Vector:
    """The mixture of a run of the yardstick, by the spec `tilt:NUMBER/COUNT` of its unit; shape (N,)."""
    number, count = map(int, spec.removeprefix("tilt:").split("/"))
    mixture_N: Vector = setting_tilts(settings, space, count=count)[number]
    return mixture_N
