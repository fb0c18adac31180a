"""Mixtures that rivals of the third protocol learn from: RegMix's design, and a grid of target shares.

Shapes: N domains.
"""

import numpy as np

from dmix.mixing.regression.design import design_mixtures, largest_shares
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings

_LARGEST_SHARE = 0.75


def design_mixture(number: int, settings: ComparisonSettings, space: DomainSpace, *, count: int) -> Vector:
    """Mixture `number` of the `count` that RegMix learns from, shape (N,); the first half are tilts."""
    largest_N = largest_shares(space, max_passes=settings.max_passes, run_samples=settings.run_samples)
    mixture_N: Vector = design_mixtures(space, largest_N=largest_N, count=count, seed=settings.seed)[number]
    return mixture_N


def target_mixture(share: float, space: DomainSpace) -> Vector:
    """A target share, and natural shares within each field, shape (N,)."""
    natural_N, target_N = space.natural_N, space.target_N
    natural = natural_N[target_N].sum()
    return natural_N * np.where(target_N, share / natural, (1 - share) / (1 - natural))


def grid_shares(settings: ComparisonSettings, space: DomainSpace, *, count: int) -> list[float]:
    """Target shares that a user would try: from half of the natural one to what the supply allows."""
    natural = float(space.natural_N[space.target_N].sum())
    largest_N = largest_shares(space, max_passes=settings.max_passes, run_samples=settings.run_samples)
    most = max(natural, min(_LARGEST_SHARE, float(largest_N[space.target_N].sum())))
    return [round(float(share), 4) for share in np.geomspace(natural / 2, most, count)]
