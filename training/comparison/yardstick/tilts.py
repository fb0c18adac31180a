"""Mixtures that an objective is tried on before any controller runs (method §7).

Shapes: M mixtures, N domains.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.regression.design import largest_shares, tilts
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.training.comparison.data.settings import ComparisonSettings


def setting_tilts(settings: ComparisonSettings, space: DomainSpace, *, count: int) -> NDArray[np.float64]:
    """The mixtures of a setting's yardstick, shape (M, N)."""
    largest_N = largest_shares(space, max_passes=settings.max_passes, run_samples=settings.run_samples)
    return tilts(space, count=count, seed=settings.seed, largest_N=largest_N)


def tilt_of(spec: str, settings: ComparisonSettings, space: DomainSpace) -> Vector:
    """The mixture of a run of the yardstick, by the spec `tilt:NUMBER/COUNT` of its unit; shape (N,)."""
    number, count = map(int, spec.removeprefix("tilt:").split("/"))
    mixture_N: Vector = setting_tilts(settings, space, count=count)[number]
    return mixture_N
