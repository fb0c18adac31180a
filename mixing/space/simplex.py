"""Arithmetic on mixtures: probability vectors over the domain space.

Shapes: N (field, domain) pairs; `...` any leading axes. Logarithms are natural, 0 log 0 = 0.
"""

import math

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.warehouse_schema.errors import InputError

# Smallest weight of a candidate mixture: float32 draws give exact zeros, whose log is -inf.
SMALLEST_WEIGHT = 1e-8


def entropy(mixture_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Entropy in nats, (..., N) to (...)."""
    positive = mixture_N > 0
    logs = np.log(mixture_N, out=np.zeros_like(mixture_N, dtype=np.float64), where=positive)
    return -(mixture_N * logs).sum(-1)


def effective_number(mixture_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(entropy): how many equally weighted domains would be as spread out, (..., N) to (...)."""
    return np.exp(entropy(mixture_N))


def kl(p_N: NDArray[np.float64], q_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """KL(p || q) in nats over the last axis; infinite where p has weight and q has none."""
    p_N, q_N = np.broadcast_arrays(np.asarray(p_N, np.float64), np.asarray(q_N, np.float64))
    with np.errstate(divide="ignore"):
        ratio = np.where(p_N > 0, np.log(np.where(p_N > 0, p_N, 1)) - np.log(q_N), 0.0)
    return (p_N * ratio).sum(-1)


def total_variation(p_N: NDArray[np.float64], q_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half the L1 distance over the last axis, in [0, 1]."""
    return 0.5 * np.abs(p_N - q_N).sum(-1)


def clipped(mixture_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """The mixture with no weight below `SMALLEST_WEIGHT`, renormalised over the last axis."""
    raised = np.maximum(mixture_N, SMALLEST_WEIGHT)
    return raised / raised.sum(-1, keepdims=True)


def masked_mixture(mixture_N: NDArray[np.float64], space: DomainSpace) -> Vector:
    """The mixture without the weight of domains that have no samples, renormalised, float64.

    Natural shares are returned when nothing is left of it.

    Args:
        mixture_N: Non-negative weights, shape (N,), any sum.
        space: Tells which domains are active.

    Raises:
        InputError: If the shape is wrong, or a weight is negative or not finite.
    """
    weights_N = np.asarray(mixture_N, dtype=np.float64)
    if weights_N.shape != (len(space),):
        raise InputError(f"mixture has shape {weights_N.shape}, expected ({len(space)},)")
    if not np.isfinite(weights_N).all() or (weights_N < 0).any():
        worst = weights_N[~(weights_N >= 0)][:1]
        raise InputError(f"mixture has the weight {worst}, expected finite numbers of 0 or more")
    weights_N = np.where(space.active_N, weights_N, 0.0)
    total = math.fsum(weights_N)
    return weights_N / total if total > 0 else space.natural_N.copy()
