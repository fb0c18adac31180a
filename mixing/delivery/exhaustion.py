"""From the asked to the planned mixture: what happens when domains have nothing left.

Shapes: N (field, domain) pairs. Whatever a domain cannot give goes to the other domains of its
field that still hold samples, in proportion to their planned weights, and only when there is
none to the other field. Where all of those weights are 0, what they still hold takes their
place, so that a field is used up before the other one pays for it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.errors import InputError

EXHAUSTION = ("stop", "repeat", "redistribute")
SUM_TOLERANCE = 1e-6
_ROUNDING = 1e-12

NO_SAMPLES = "no samples"
EXHAUSTED = "exhausted"
RUNS_OUT = "has no samples left after this step"
TAKES_OVER = "replaces domains without samples"


@dataclass(frozen=True, kw_only=True, eq=False)
class Allocation:
    """A planned mixture and the quotas that follow from it.

    Attributes:
        planned_N: Weights after masks and exhaustion, shape (N,), sum 1.
        quota_N: Samples wanted of each domain, carry included, at most what it holds; shape (N,).
        reasons: Why the planned weight of a domain is not the asked one.
    """

    planned_N: Vector
    quota_N: Vector
    reasons: dict[int, str]


def checked_mixture(asked_N: Vector, *, size: int) -> Vector:
    """The asked mixture as float64 with sum 1.

    Raises:
        InputError: If the length is wrong, a weight is negative or not finite, or the weights
            sum to something that is further than 1e-6 from 1.
    """
    mixture_N = np.asarray(asked_N, dtype=np.float64)
    if mixture_N.shape != (size,):
        raise InputError(
            f"mixture has shape {mixture_N.shape}, expected ({size},): one weight per (field, domain)"
        )
    if not np.isfinite(mixture_N).all():
        where = np.flatnonzero(~np.isfinite(mixture_N))[0]
        raise InputError(f"mixture has {mixture_N[where]} at index {where}, expected finite weights")
    if (mixture_N < 0).any():
        where = mixture_N.argmin()
        raise InputError(f"mixture has {mixture_N[where]} at index {where}, expected weights of 0 or more")
    total = math.fsum(mixture_N)
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(
            f"mixture sums to {total:.9f}, expected 1 (tolerance {SUM_TOLERANCE}); divide the "
            "weights by their sum"
        )
    return mixture_N / total


def allocate(
    mixture_N: Vector,
    *,
    total: int,
    carry_N: Vector,
    remaining_N: NDArray[np.int64],
    samples_N: NDArray[np.int64],
    target_N: NDArray[np.bool_],
) -> Allocation:
    """The planned mixture of a step of `total` samples, and the quota of each domain.

    A domain whose quota is more than what it holds gives all it has; the rest of its share, and
    whatever carry it can no longer use, go to others, until every quota can be served.

    Args:
        mixture_N: Weights, sum 1.
        total: Samples of the step, at most what all domains hold together.
        carry_N: Samples owed by earlier steps, negative where too many were given.
        remaining_N: Samples that each domain can still give.
        samples_N: Samples of one pass, to tell empty from exhausted domains.
        target_N: True on the target field.
    """
    weights_N, owed_N = mixture_N.copy(), carry_N.copy()
    open_N = remaining_N > 0
    full_N = np.zeros_like(open_N)

    def hand_over(giver_N: NDArray[np.bool_], weight_N: Vector, debt_N: Vector) -> None:
        """Moves weights and carries away from the domains in `giver_N`."""
        weights_N[giver_N] -= weight_N[giver_N]
        owed_N[giver_N] -= debt_N[giver_N]
        shares = [
            (math.fsum(weight_N[field_N]), math.fsum(debt_N[field_N]), field_N)
            for field_N in (giver_N & ~target_N, giver_N & target_N)
        ]
        basis_N = weights_N.copy()
        for weight, debt, field_N in shares:
            taker_N = _takers(field_N, open_N=open_N & ~full_N, target_N=target_N)
            if taker_N.any():
                part_N = _proportions(taker_N, basis_N, remaining_N)
                weights_N[:] += weight * part_N
                owed_N[:] += debt * part_N

    hand_over(~open_N, weights_N.copy(), owed_N.copy())
    while True:
        quota_N = total * weights_N + owed_N
        over_N = open_N & ~full_N & (quota_N > remaining_N)
        if not over_N.any():
            break
        full_N |= over_N
        kept_N = np.maximum(0.0, (remaining_N - owed_N) / total)
        hand_over(over_N, weights_N - kept_N, np.maximum(0.0, owed_N - remaining_N))
    quota_N[full_N] = remaining_N[full_N]  # what rounding left of exactly that
    return Allocation(
        planned_N=weights_N,
        quota_N=quota_N,
        reasons=_reasons(mixture_N, weights_N, samples_N=samples_N, open_N=open_N, full_N=full_N),
    )


def feasible(
    mixtures_PN: NDArray[np.float64], left_PN: NDArray[np.float64], *, target_N: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """What many runs plan where they ask for these mixtures; `allocate` without whole samples.

    Args:
        mixtures_PN: Weights, sum 1 in each row.
        left_PN: What each domain can still give, in steps.
        target_N: True on the target field.

    Returns:
        Weights, sum 1 in each row, in proportion to what is left where that is less than a step; as
        asked where nothing is left.
    """
    planned_PN, left_PN = mixtures_PN.copy(), np.maximum(left_PN, 0.0)
    for field_N in (target_N, ~target_N):
        planned_PN[:, field_N] = _filled(planned_PN[:, field_N], left_PN[:, field_N])
    # what a field has not got, the other one gives
    asked_P1 = mixtures_PN.sum(1, keepdims=True)
    missing_P1 = asked_P1 - planned_PN.sum(1, keepdims=True)
    if (missing_P1 > _ROUNDING).any():
        planned_PN = _filled(planned_PN, left_PN, missing_P1=missing_P1)
    total_P1 = planned_PN.sum(1, keepdims=True)
    scale_P1 = asked_P1 / np.where(total_P1 > 0, total_P1, 1)
    return np.where(total_P1 > 0, planned_PN * scale_P1, mixtures_PN)


def _filled(
    asked_PA: NDArray[np.float64],
    left_PA: NDArray[np.float64],
    *,
    missing_P1: NDArray[np.float64] | float = 0.0,
) -> NDArray[np.float64]:
    """What these domains give of what is asked of them and is missing elsewhere, at most what they hold."""
    wanted_P1 = asked_PA.sum(1, keepdims=True) + missing_P1
    part_PA = asked_PA
    for _ in range(asked_PA.shape[1] + 1):
        part_PA = np.minimum(part_PA, left_PA)
        lost_P1 = wanted_P1 - part_PA.sum(1, keepdims=True)
        room_PA = left_PA - part_PA
        if not ((lost_P1 > _ROUNDING) & (room_PA > _ROUNDING).any(1, keepdims=True)).any():
            break
        open_PA = np.where(room_PA > _ROUNDING, part_PA, 0.0)
        # domains that nothing was asked of come last, by what they hold
        basis_PA = np.where(open_PA.sum(1, keepdims=True) > 0, open_PA, room_PA)
        part_PA = part_PA + lost_P1 * basis_PA / np.maximum(basis_PA.sum(1, keepdims=True), _ROUNDING)
    return part_PA


def _takers(
    giver_N: NDArray[np.bool_], *, open_N: NDArray[np.bool_], target_N: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """The open domains of the givers' field, or else of the other field; none without givers."""
    if not giver_N.any():
        return np.zeros_like(giver_N)
    same_N = open_N & (target_N == target_N[giver_N][0])
    return same_N if same_N.any() else open_N


def _proportions(taker_N: NDArray[np.bool_], weights_N: Vector, remaining_N: NDArray[np.int64]) -> Vector:
    """How the takers share: by weight, or by what they hold if they have no weight at all."""
    basis_N = np.where(taker_N, weights_N, 0.0)
    if not basis_N.any():
        basis_N = np.where(taker_N, remaining_N, 0).astype(np.float64)
    return basis_N / math.fsum(basis_N)


def _reasons(
    wanted_N: Vector,
    planned_N: Vector,
    *,
    samples_N: NDArray[np.int64],
    open_N: NDArray[np.bool_],
    full_N: NDArray[np.bool_],
) -> dict[int, str]:
    """One reason for each domain whose planned weight is not the wanted one."""
    reasons = {}
    for i in np.flatnonzero(planned_N != wanted_N).tolist():
        if samples_N[i] == 0:
            reasons[i] = NO_SAMPLES
        elif not open_N[i]:
            reasons[i] = EXHAUSTED
        elif full_N[i]:
            reasons[i] = RUNS_OUT
        else:
            reasons[i] = TAKES_OVER
    return reasons
