"""Guard rails around a controller: floors, ceilings, a limit on change, and alarms (method §5).

All limits are quantiles of the farm's own steps: what no proxy ever did is not tried on a run.
Everything follows from the history, so a resumed run needs no state. Shapes: S states of a
trajectory (row 0 is rho_s), N domains.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import clipped, effective_number, kl, total_variation
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text

# Steps that the alarm for oscillation looks back on.
OSCILLATION_WINDOW = 6
_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True, eq=False)
class GuardLimits:
    """What a step may do.

    Attributes:
        floors_N, ceilings_N: Least and largest weight of a domain.
        largest_kl: Of KL(last || next), in nats, from the second step on.
        largest_first_kl: The same for the first step, KL(rho_s || next).
        largest_oscillation: Alarm level of oscillation, see `oscillation`.
        least_effective_number: Alarm level of collapse, exp(entropy) of a mixture.
    """

    floors_N: Vector
    ceilings_N: Vector
    largest_kl: float
    largest_first_kl: float
    largest_oscillation: float
    least_effective_number: float


def farm_limits(trajectories: Sequence[Trajectory], *, quantile: float = 0.99) -> GuardLimits:
    """Limits that the farm's own steps keep to, but for a share of 1 - quantile.

    Raises:
        InputError: If there are no steps, or the quantile is not between a half and 1.
    """
    if not 0.5 <= quantile < 1:
        raise InputError(f"quantile is {quantile}, expected at least 0.5 and below 1")
    paths = [t.mixtures_TN for t in trajectories if len(t.mixtures_TN) > 1]
    if not paths:
        raise InputError(
            "no trajectory has a step, so there are no guard limits; run 'dmix mix sample' first"
        )
    stacked_RN = np.concatenate([path[1:] for path in paths])
    first = [float(kl_of_steps(path)[0]) for path in paths]
    later = np.concatenate([kl_of_steps(path)[1:] for path in paths])
    oscillations = [oscillation(path[: end + 1]) for path in paths for end in range(1, len(path))]
    return GuardLimits(
        floors_N=np.quantile(stacked_RN, 1 - quantile, axis=0),
        ceilings_N=np.quantile(stacked_RN, quantile, axis=0),
        largest_kl=float(np.quantile(later, quantile)) if len(later) else max(first),
        largest_first_kl=float(np.quantile(first, quantile)),
        largest_oscillation=float(np.quantile(oscillations, quantile)),
        least_effective_number=float(np.quantile(effective_number(stacked_RN), 1 - quantile)),
    )


def kl_of_steps(mixtures_SN: Array) -> Vector:
    """KL(last || next) of every step in nats, shape (S - 1,); weights below 1e-8 count as 1e-8."""
    steps: Vector = kl(mixtures_SN[:-1], clipped(mixtures_SN[1:]))
    return steps


def oscillation(mixtures_SN: Array) -> float:
    """How far the last steps moved without getting anywhere, in total variation.

    Length of the path over the last `OSCILLATION_WINDOW` steps less the distance of its ends; 0
    for a straight path.
    """
    window_SN = mixtures_SN[-(OSCILLATION_WINDOW + 1) :]
    length = float(total_variation(window_SN[1:], window_SN[:-1]).sum())
    return length - float(total_variation(window_SN[-1], window_SN[0]))


def alarms(history: History, proposal_N: Vector, limits: GuardLimits) -> list[str]:
    """What is wrong with a proposal, in words; [] if nothing is."""
    mixtures_SN = np.vstack([history.mixtures_TN, proposal_N])
    found = []
    change = float(kl_of_steps(mixtures_SN[-2:])[0])
    if history.step == 1 and change > limits.largest_first_kl:
        found.append(
            f"random start: the first mixture is {change:.2f} nats from the start state; the maximum in "
            f"the farm is {limits.largest_first_kl:.2f} nats"
        )
    moved = oscillation(mixtures_SN)
    if moved > limits.largest_oscillation:
        found.append(
            f"oscillation: the mixtures moved {moved:.2f} back and forth in "
            f"{num_text(OSCILLATION_WINDOW, 'step')}; the maximum in the farm is "
            f"{limits.largest_oscillation:.2f}"
        )
    number = float(effective_number(proposal_N))
    if number < limits.least_effective_number:
        found.append(
            f"collapse: the mixture has {number:.2f} effective domains; the minimum in the farm is "
            f"{limits.least_effective_number:.2f}"
        )
    return found


def guarded(history: History, proposal_N: Vector, limits: GuardLimits) -> Vector:
    """The proposal within floors and ceilings, and no further from the last mixture than allowed.

    What a domain can still give until its last pass ends limits it too: a step cannot take more
    than that, and a floor takes no more than an even share of it over the steps to come, so that
    the floor of a small domain holds to the end of the run. The limit on change comes last: a last
    mixture outside the other limits is left by steps that are allowed.
    """
    left_N = history.remaining_samples_N / history.step_samples
    steps_left = max(1, history.steps - history.step + 1)
    ceilings_N = np.where(history.space.active_N, np.minimum(limits.ceilings_N, left_N), 0.0)
    floors_N = np.minimum(limits.floors_N, np.minimum(left_N / steps_left, ceilings_N))
    inside_N = within_bounds(proposal_N, floors_N, ceilings_N)
    limit = limits.largest_first_kl if history.step == 1 else limits.largest_kl
    return within_change(history.mixtures_TN[-1], inside_N, limit)


def within_bounds(mixture_N: Vector, floors_N: Vector, ceilings_N: Vector) -> Vector:
    """The mixture scaled and clipped to the bounds, so that it sums to 1 and keeps proportions.

    Where ceilings leave less than 1 they are scaled up, where floors take more than 1 they are
    scaled down.
    """
    ceilings_N = ceilings_N / min(1.0, ceilings_N.sum()) if ceilings_N.sum() > 0 else np.ones_like(mixture_N)
    floors_N = np.minimum(floors_N / max(1.0, floors_N.sum()), ceilings_N)
    # Domains without weight can only be filled if they have some to scale.
    weights_N = np.where(ceilings_N > 0, np.maximum(mixture_N, 1e-12), 0.0)
    low, high = 0.0, 1.0
    while np.clip(high * weights_N, floors_N, ceilings_N).sum() < 1 - 1e-12 and high < 1e15:
        high *= 4
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if np.clip(middle * weights_N, floors_N, ceilings_N).sum() < 1:
            low = middle
        else:
            high = middle
    bounded_N = np.clip(high * weights_N, floors_N, ceilings_N)
    result: Vector = bounded_N / bounded_N.sum()
    return result


def within_change(last_N: Vector, next_N: Vector, limit: float) -> Vector:
    """The furthest point on the line from `last_N` to `next_N` with KL(last || .) <= limit."""
    if kl_of_steps(np.stack([last_N, next_N]))[0] <= limit:
        return next_N
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        step_SN = np.stack([last_N, (1 - middle) * last_N + middle * next_N])
        if kl_of_steps(step_SN)[0] <= limit:
            low = middle
        else:
            high = middle
    return (1 - low) * last_N + low * next_N
