"""The laws that candidate mixtures of Algorithm 1 are drawn from, as logarithms, in bulk.

A draw fills a float32 buffer of shape (A, C) with log rho': A active domains in rows, C
candidates in columns, so that sums over domains run along contiguous memory and every KL of a
whole draw is one matrix-vector product. Weights are clipped at 1e-8 before the logarithm. The
clip raises the sum by at most A * 1e-8, below the resolution of float32: scores ignore it, and
`mixture_of` renormalises the chosen candidate in float64.

Two laws (method §2): `UniformDistribution`, Dirichlet(1) (preset `paper`), and `HierarchicalDistribution`,
field share first, composition second (preset `default`).
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.simplex import SMALLEST_WEIGHT, clipped
from dmix.mixing.trajectories.gamma import fill_log_gamma, uniform

Buffer = NDArray[np.float32]

# kappa of the Dirichlet within a field is log-uniform on this interval (method §2).
KAPPA_RANGE = (0.5, 50.0)


class CandidateDistribution(Protocol):
    """A probability distribution on the simplex of the active domains."""

    def fill(self, rng: np.random.Generator, out_AC: Buffer) -> None:
        """Overwrites `out_AC` with log rho' of independent candidates, one a column."""
        ...


class UniformDistribution:
    """Dirichlet(1): uniform on the simplex of the active domains."""

    def fill(self, rng: np.random.Generator, out_AC: Buffer) -> None:
        """Exponentials by inversion, normalised.

        -log U is several times as fast as the ziggurat of numpy. The resolution near 0, 1.2e-7
        over a sum of about A, lies below the clip.
        """
        np.log(uniform(rng, out_AC.size).reshape(out_AC.shape), out=out_AC)
        # All negative or 0: the ratio to their sum is that of the exponentials.
        out_AC /= out_AC.sum(axis=0)
        np.maximum(out_AC, np.float32(SMALLEST_WEIGHT), out=out_AC)
        np.log(out_AC, out=out_AC)


class HierarchicalDistribution:
    """Target share u ~ Beta(1/2, 1/2); within a field Dirichlet(kappa * natural shares * n_active).

    log kappa is uniform on [log 0.5, log 50], drawn for each candidate and field; n_active
    counts the active domains of the field, so kappa is the mean Dirichlet parameter.

    Args:
        space: Active domains and natural shares; both fields must have samples.
    """

    def __init__(self, space: DomainSpace) -> None:
        active_N = space.active_N
        self._fields = []
        first = 0
        for shares_N, field_N in (
            (space.start_N, ~space.target_N),
            (space.target_state_N, space.target_N),
        ):
            shares_A = shares_N[active_N & field_N]
            rows = slice(first, first + len(shares_A))
            self._fields.append((rows, (shares_A * len(shares_A)).astype(np.float32)))
            first = rows.stop

    def fill(
        self, rng: np.random.Generator, out_AC: Buffer, *, share_C: NDArray[np.float64] | None = None
    ) -> None:
        """Fills the buffer; `share_C` fixes the target shares instead of drawing them."""
        candidates = out_AC.shape[1]
        if share_C is None:
            share_C = beta_half_quantile(rng.random(candidates))
        for (rows, concentration_A), weight_C in zip(self._fields, (1 - share_C, share_C), strict=True):
            low, high = map(math.log, KAPPA_RANGE)
            kappa_C = np.exp(rng.uniform(low, high, candidates)).astype(np.float32)
            part = out_AC[rows]
            fill_log_gamma(rng, part, shape=concentration_A[:, None] * kappa_C)
            part += _log(weight_C).astype(np.float32) - _log_sum_exp(part)
        np.maximum(out_AC, np.float32(np.log(SMALLEST_WEIGHT)), out=out_AC)

    def mixtures(self, rng: np.random.Generator, share_C: NDArray[np.float64]) -> NDArray[np.float64]:
        """One mixture over the active domains for each target share, shape (C, A)."""
        rows = self._fields[-1][0].stop
        out_AC = np.empty((rows, len(share_C)), np.float32)
        self.fill(rng, out_AC, share_C=np.asarray(share_C, dtype=np.float64))
        return mixture_of(out_AC.T)


def beta_half_quantile(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile function of Beta(1/2, 1/2), the arcsine distribution: sin^2(pi p / 2)."""
    return np.sin(0.5 * np.pi * probability) ** 2


def mixture_of(log_A: NDArray[np.float32]) -> Vector:
    """The mixture with these logarithms: float64, clipped and renormalised over the last axis."""
    weights_A = np.exp(log_A.astype(np.float64))
    return clipped(weights_A / weights_A.sum(-1, keepdims=True))


def _log(weight_C: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of shares, of which some may be 0."""
    return np.log(np.maximum(weight_C, SMALLEST_WEIGHT))


def _log_sum_exp(log_AC: Buffer) -> NDArray[np.float32]:
    """log of the sum over domains, shape (C,); shifted, as small shapes leave whole columns tiny."""
    peak_C = log_AC.max(axis=0)
    found: NDArray[np.float32] = np.log(np.exp(log_AC - peak_C).sum(axis=0)) + peak_C
    return found
