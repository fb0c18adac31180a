"""Signals that a run sees on its way: what could warn that it will end badly.

A signal is a level after each step, from what a run knows by then: its mixtures and its scores on the
feedback items. It fires where its level exceeds a threshold. All definitions were fixed before any of
their results. Guard events are computed again from stored mixtures, since no events are stored. Training
loss is not stored either; the scores' fall below the start stands for it.

Shapes: T steps, N domains, D objectives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.studies.rows import WORLDS, StudyRun, StudySetting

from dmix.mixing.space.domains import Vector
from dmix.mixing.space.simplex import clipped, effective_number, kl, total_variation
from dmix.mixing.trajectories.guard import GuardLimits, kl_of_steps, oscillation
from dmix.training.comparison.effects.world_plans import AGENT, WorldPriors

EXTREME_SHARE = 0.9
_RISE, _FALL = 0.05, 0.1
_NEAR, _FAR = 0.02, 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """A run and what is known when it starts.

    Attributes:
        run: The run, scored after each step.
        setting: Its setting.
        limits: Of the guard, from the farm of the setting; None without a farm.
        natural_T: Mean U of natural mixing after each step on the feedback items; None without such runs.
        natural_noise_T: Standard deviation of one such run.
        promise: What effects promise of its constant mixture; None for others.
    """

    run: StudyRun
    setting: StudySetting
    limits: GuardLimits | None = None
    natural_T: Vector | None = None
    natural_noise_T: Vector | None = None
    promise: "Promise | None" = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Promise:
    """The U that was predicted after each step, and its standard error."""

    mean_T: Vector
    stderr_T: Vector


@dataclass(frozen=True)
class Signal:
    """One kind of warning.

    Attributes:
        name: Short, in words.
        meaning: What the level is.
        level: Level after each step, shape (T,); None where a run has no such signal.
        thresholds: The first is the alarm's; the others show what another one would do.
    """

    name: str
    meaning: str
    level: Callable[[Watched], Vector | None]
    thresholds: tuple[float, ...]


def utilities(setting: StudySetting, run: StudyRun) -> Vector:
    """U after each step on the feedback items, shape (T,)."""
    return _gains(run) @ (setting.weight_D / setting.scale_D)


def promise(
    setting: StudySetting,
    *,
    mixture_N: Vector,
    promised_D: Vector,
    linear_D: Vector,
    priors: WorldPriors,
    reached_T: Vector,
) -> Promise:
    """What priors of other worlds make of the promises of counts and gradients, step by step.

    The prior of the effect agent's belief (`dmix.mixing.effects.belief`) for a constant mixture; scores
    count as they are, without the bend of the scale on which that belief adds gains up.

    Args:
        setting: A world.
        mixture_N: The constant mixture.
        promised_D, linear_D: Promised gain over natural mixing by counts and by gradients, nats per token.
        priors: What other worlds taught.
        reached_T: Part of the run's gains that are expected by each step.
    """
    roles = ["general" if general else "target" for general in setting.general_D]
    natural_D = np.array([priors.natural_gain[role] for role in roles])
    bend = priors.q * float(kl(mixture_N, clipped(setting.space.natural_N)))
    over_D = (priors.beta * promised_D + priors.gamma * linear_D) / setting.scale_D - bend
    apart = float((mixture_N - setting.space.natural_N) @ setting.space.target_N)
    square_D = priors.drift**2 + (priors.scale * over_D) ** 2 + (priors.direction * apart) ** 2
    mean = float(setting.weight_D @ (natural_D + over_D))
    whole, noise = setting.weight_D**2 @ square_D, float(setting.weight_D @ setting.weight_D)
    return Promise(mean_T=mean * reached_T, stderr_T=np.sqrt(reached_T**2 * whole + noise * priors.noise**2))


def _gains(run: StudyRun) -> Vector:
    """Gain over the start after each step, shape (T, D)."""
    assert run.scores_TD is not None, "signals are about runs with scores"
    return run.scores_TD[1:] - run.scores_TD[0]


def _path(watched: Watched) -> Vector:
    return np.vstack([watched.setting.space.start_N, watched.run.mixtures_TN])


def _oscillation(watched: Watched) -> Vector | None:
    if watched.limits is None:
        return None
    path, most = _path(watched), watched.limits.largest_oscillation
    moved_T = np.array([oscillation(path[: step + 1]) for step in range(1, len(path))])
    return moved_T / most if most > 0 else np.where(moved_T > 0, np.inf, 0.0)


def _collapse(watched: Watched) -> Vector | None:
    if watched.limits is None:
        return None
    return watched.limits.least_effective_number / effective_number(watched.run.mixtures_TN)


def _first_step(watched: Watched) -> Vector | None:
    if watched.limits is None:
        return None
    steps = len(watched.run.mixtures_TN)
    return np.full(steps, kl_of_steps(_path(watched)[:2])[0] / watched.limits.largest_first_kl)


def target_share(watched: Watched) -> Vector:
    """Share of target text in each step, shape (T,)."""
    return watched.run.mixtures_TN @ watched.setting.space.target_N.astype(np.float64)


def _general_T(watched: Watched) -> Vector:
    setting = watched.setting
    return np.array([setting.general(gain_D) for gain_D in _gains(watched.run)])


def _general_lost(watched: Watched) -> Vector:
    return -_general_T(watched)


def _scores_lost(watched: Watched) -> Vector:
    lost_T: Vector = -(_gains(watched.run) @ watched.setting.weight_D)
    return lost_T


def _utility_lost(watched: Watched) -> Vector:
    return -utilities(watched.setting, watched.run)


def _share_against_general(watched: Watched) -> Vector:
    """The weaker of rise and fall over the last quarter of the run, each in its own unit."""
    start = float(watched.setting.space.natural_N @ watched.setting.space.target_N)
    share_S = np.concatenate([[start], target_share(watched)])
    general_S = np.concatenate([[0.0], _general_T(watched)])
    window = max(2, (len(share_S) - 1) // 4)
    found = np.zeros(len(share_S) - 1)
    for step in range(window + 1, len(share_S)):
        rise = share_S[step] - share_S[step - window]
        fall = general_S[step - window] - general_S[step]
        found[step - 1] = min(rise / _RISE, fall / _FALL)
    return found


def _supply(watched: Watched) -> Vector:
    """Largest part of its supply that a domain has given."""
    setting = watched.setting
    drawn_TN = np.cumsum(watched.run.mixtures_TN, axis=0) * setting.step_samples
    has_N = setting.space.active_N
    level_T: Vector = (drawn_TN[:, has_N] / (setting.max_passes * setting.space.samples_N[has_N])).max(1)
    return level_T


def _behind_natural(watched: Watched) -> Vector | None:
    if watched.natural_T is None or watched.natural_noise_T is None:
        return None
    behind_T = watched.natural_T - utilities(watched.setting, watched.run)
    return np.divide(behind_T, watched.natural_noise_T)


def _promise_missed(watched: Watched) -> Vector | None:
    if watched.promise is None:
        return None
    below_T = watched.promise.mean_T - utilities(watched.setting, watched.run)
    return below_T / watched.promise.stderr_T


def _fell_back(watched: Watched) -> Vector | None:
    """1 from the step on at which an effect agent is at natural mixing after it was elsewhere."""
    if watched.run.controller != AGENT or watched.setting.group != WORLDS:
        return None
    apart_T = total_variation(watched.run.mixtures_TN, watched.setting.space.natural_N)
    left_T = np.maximum.accumulate(apart_T > _FAR)
    return np.maximum.accumulate((left_T & (apart_T < _NEAR)).astype(np.float64))


SIGNALS: Sequence[Signal] = (
    Signal("guard: oscillation", "back and forth over the farm's 99% quantile", _oscillation, (1.0,)),
    Signal("guard: collapse", "fewer effective domains than the farm's 1% quantile", _collapse, (1.0,)),
    Signal("guard: random start", "first step larger than the farm's 99% quantile", _first_step, (1.0,)),
    Signal("target share", "share of target text in a step", target_share, (0.7, 0.5, EXTREME_SHARE)),
    Signal(
        "general scores below the start",
        "mean loss of the general objectives, in spreads s",
        _general_lost,
        (1.0, 0.25, 0.5, 2.0),
    ),
    Signal("all scores below the start", "mean loss of all objectives, nats per token", _scores_lost, (0.0,)),
    Signal("U below the start", "loss of U", _utility_lost, (0.0, 0.25, 0.5)),
    Signal(
        "share up, general down",
        f"over a quarter of the run, target share rose by more than {_RISE:g} and general scores fell by"
        f" more than {_FALL:g} spreads",
        _share_against_general,
        (1.0,),
    ),
    Signal("supply exhausted", "a domain at the end of its last pass", _supply, (0.999,)),
    Signal(
        "behind natural mixing",
        "U behind natural mixing's at the same step, in standard deviations of its seeds",
        _behind_natural,
        (2.0, 1.0, 4.0),
    ),
    Signal(
        "predicted interval missed",
        "U below its prediction, in standard errors (constant plans of worlds)",
        _promise_missed,
        (2.0, 1.0),
    ),
    Signal("fall-back", "the effect agent returned to natural mixing", _fell_back, (0.5,)),
)
