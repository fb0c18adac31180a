"""Priors from the stored runs of fitting worlds (method §9); runs of other worlds read them.

Shapes: N domains, D objectives, P runs, M steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from dmix.mixing.effects.belief import MOST_SATURATION, BeliefSettings, Filter
from dmix.mixing.space.domains import Array, Vector
from dmix.mixing.space.returns import Returns
from dmix.mixing.space.simplex import clipped, kl
from dmix.training.comparison.effects.world_plans import WorldPriors
from dmix.warehouse_schema.errors import InputError

# Runs of typical size that the defaults of the plan count for, and worlds that those of the belief do.
_RIDGE = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class WorldRuns:
    """What a fitting world's runs came to.

    Attributes:
        roles: Of its D objectives.
        scales_D: s_o.
        specs: What steered each of its P runs, those of natural mixing left out.
        mixtures_PN: Their mixtures.
        natural_N: n.
        target_N: True for target domains.
        promised_PD: What counts promised over natural mixing, nats per token.
        linear_PD: What gradients promised.
        gains_PD: What came, over natural mixing.
        natural_TD: Scores of its run of natural mixing, from the model before it on.
        rate_shares_M: Share of the run's summed learning rate that falls into each step.
    """

    roles: tuple[str, ...]
    scales_D: Vector
    specs: tuple[str, ...]
    mixtures_PN: Array
    natural_N: Vector
    target_N: Array
    promised_PD: Array
    linear_PD: Array
    gains_PD: Array
    natural_TD: Array
    rate_shares_M: Vector


def fit_priors(worlds: Sequence[WorldRuns]) -> WorldPriors:
    """Priors by pooled non-negative ridge, and by moments of what it leaves unexplained.

    Raises:
        InputError: If there are fewer than two worlds.
    """
    if len(worlds) < 2:
        raise InputError(f"{len(worlds)} fitting worlds are done, expected at least 2; run more of them")
    features = [_features(world) for world in worlds]
    rows_RC, gains_R = np.concatenate([f for f, _ in features]), np.concatenate([g for _, g in features])
    hold_C = np.sqrt(_RIDGE * np.maximum((rows_RC**2).mean(0), 1e-12))
    start_C = np.array([1.0, 0.0, 0.0])
    held_RC, wanted_R = np.vstack([rows_RC, np.diag(hold_C)]), np.concatenate([gains_R, hold_C * start_C])
    beta, gamma, q = optimize.nnls(held_RC, wanted_R)[0]
    left = [gain - feature @ [beta, gamma, q] for feature, gain in features]
    promised = [f[:, 0] for f, _ in features]
    shares = [_shares(world) for world in worlds]
    ends = {
        role: [gain for world in worlds for gain in _natural(world, role)] for role in ("general", "target")
    }
    noise = [np.diff(world.natural_TD, 2, axis=0) / world.scales_D / np.sqrt(6) for world in worlds]
    return WorldPriors(
        beta=float(beta),
        gamma=float(gamma),
        q=float(q),
        natural_gain={role: float(np.mean(found)) for role, found in ends.items()},
        drift=float(np.sqrt(np.mean([np.var(found, ddof=1) for found in ends.values()]))),
        scale=spread_of_slopes(promised, left, known=BeliefSettings().scale),
        direction=spread_of_slopes(shares, left, known=BeliefSettings().direction),
        noise=float(np.sqrt(np.mean(np.concatenate([n.ravel() for n in noise]) ** 2))),
        saturation=saturation_of(worlds),
        worlds=len(worlds),
        runs=sum(1 + len(world.mixtures_PN) for world in worlds),
    )


def saturation_of(worlds: Sequence[WorldRuns]) -> float:
    """The saturation of `BeliefSettings` with which natural mixing's gains, step by step, fit best.

    Least squares in scales over all worlds, objectives and steps, the gain of the whole run fitted to each.
    """

    def left(saturation: float) -> float:
        found = 0.0
        for world in worlds:
            settings = BeliefSettings(saturation=saturation)
            curve = Filter(settings, scales_D=world.scales_D, steps=len(world.rate_shares_M))
            reached_M = np.cumsum(curve.gain_shares(world.rate_shares_M))
            first_D = world.natural_TD[0]
            returns = Returns.of_scores(first_D, settings.headroom)
            gains_MD = (returns.additive(world.natural_TD[1:]) - first_D) / world.scales_D
            whole_D = reached_M @ gains_MD / (reached_M @ reached_M)
            found += float(((gains_MD - np.outer(reached_M, whole_D)) ** 2).sum())
        return found

    found = optimize.minimize_scalar(left, bounds=(0.0, MOST_SATURATION), method="bounded")
    return float(found.x)


def _features(world: WorldRuns) -> tuple[Array, Vector]:
    """Promises by counts and gradients, minus the KL; and gains: a row a run and objective, in scales."""
    kl_P = np.array([float(kl(m, clipped(world.natural_N))) for m in world.mixtures_PN])
    size = len(world.scales_D)
    columns = [
        (world.promised_PD / world.scales_D).ravel(),
        (world.linear_PD / world.scales_D).ravel(),
        -np.repeat(kl_P, size),
    ]
    return np.column_stack(columns), (world.gains_PD / world.scales_D).ravel()


def _shares(world: WorldRuns) -> Vector:
    """Target share over the natural one, for each row of `_features`."""
    apart_P = (world.mixtures_PN - world.natural_N) @ world.target_N.astype(np.float64)
    return np.repeat(apart_P, len(world.scales_D))


def spread_of_slopes(inputs: Sequence[Vector], left: Sequence[Vector], *, known: float) -> float:
    """Standard deviation over worlds of the slope of what is left on an input, without its sampling error.

    By moments, sum_w (x'r)^2 = sum_w (spread^2 (x'x)^2 + v x'x), v the variance of what is left. The square
    is averaged with that of a known value by precision; the known one is as precise as one from `_RIDGE`
    worlds without noise. A world whose input hardly moved has next to no weight.

    Args:
        inputs: x of each world, a number a row.
        left: r of each world.
        known: The standard deviation that is expected, above 0.
    """
    noise = float(np.mean(np.concatenate(list(left)) ** 2))
    square_W = np.array([x @ x for x in inputs])
    moved_W = np.array([x @ rest for x, rest in zip(inputs, left, strict=True)])
    weight = float((square_W**2).sum())
    if weight == 0:
        return known
    found = float((moved_W**2 - noise * square_W).sum()) / weight
    variance = 2 * float(((noise * square_W + known**2 * square_W**2) ** 2).sum()) / weight**2
    precision, held = 1 / variance, _RIDGE / (2 * known**4)
    return float(np.sqrt(max(0.0, (found * precision + known**2 * held) / (precision + held))))


def _natural(world: WorldRuns, role: str) -> list[float]:
    gained_D = (world.natural_TD[-1] - world.natural_TD[0]) / world.scales_D
    return [float(g) for g, own in zip(gained_D, world.roles, strict=True) if own == role]
