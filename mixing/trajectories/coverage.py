"""Which target shares a set of trajectories shows at which step.

An agent cannot learn what it never saw, so a set is judged by its (target share x step) cells
before anything is trained on it (method §2). Shapes: Z share cells, M steps, T entries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.simplex import effective_number

# Near-pure mixtures have cells of their own: they are where guided runs start and end.
SHARE_EDGES = (0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.98, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoverageReport:
    """How often each cell occurs, and which shares are seen at all.

    Attributes:
        counts_ZM: Trajectories in each (share cell, step), steps from 1.
        lowest_M, highest_M: Smallest and largest target share at each step; NaN where no
            trajectory lasts that long.
    """

    counts_ZM: NDArray[np.int64]
    lowest_M: Vector
    highest_M: Vector

    @property
    def empty_cells(self) -> list[tuple[float, float, int]]:
        """(share from, share to, step) of every cell that no trajectory visits."""
        cells = np.argwhere(self.counts_ZM.T == 0)
        return [(SHARE_EDGES[cell], SHARE_EDGES[cell + 1], int(step) + 1) for step, cell in cells]


def share_cell(share: Vector) -> NDArray[np.int64]:
    """Index of the cell of each target share, from 0."""
    return np.clip(np.searchsorted(SHARE_EDGES, share, side="right") - 1, 0, len(SHARE_EDGES) - 2)


def coverage(mixtures: Sequence[NDArray[np.float64]], *, target_N: NDArray, steps: int) -> CoverageReport:
    """Counts of (target share x step) cells over trajectories.

    Args:
        mixtures: One array of shape (T, N) a trajectory; entry 0, the start state, is left out.
        target_N: True on the target field, shape (N,).
        steps: M.
    """
    counts_ZM = np.zeros((len(SHARE_EDGES) - 1, steps), dtype=np.int64)
    shares_PM = np.full((len(mixtures), steps), np.nan)
    for row_M, mixtures_TN in zip(shares_PM, mixtures, strict=True):
        shares = mixtures_TN[1:, target_N].sum(-1)
        row_M[: len(shares)] = shares
        np.add.at(counts_ZM, (share_cell(shares), np.arange(len(shares))), 1)
    # fmin and fmax take the number where the other side is NaN, and NaN where nothing is left.
    lowest_M = np.fmin.reduce(shares_PM, axis=0, initial=np.nan)
    highest_M = np.fmax.reduce(shares_PM, axis=0, initial=np.nan)
    return CoverageReport(counts_ZM=counts_ZM, lowest_M=lowest_M, highest_M=highest_M)


@dataclass(frozen=True, kw_only=True)
class FieldDimensions:
    """How much room a field has for mixtures.

    Attributes:
        active: Domains with samples.
        effective: exp(entropy) of their natural shares, between 1 and `active`.
    """

    active: int
    effective: float


def field_dimensions(space: DomainSpace) -> tuple[FieldDimensions, FieldDimensions]:
    """Active and effective number of domains of the source and of the target field."""
    source, target = (
        FieldDimensions(
            active=int((space.active_N & field_N).sum()), effective=float(effective_number(shares_N))
        )
        for field_N, shares_N in (
            (~space.target_N, space.start_N),
            (space.target_N, space.target_state_N),
        )
    )
    return source, target
