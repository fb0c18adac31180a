"""The ends of stored runs: which are bad, and what is known of natural mixing beside them.

A run ends badly if its U or its general scores, on items that nobody reads, are below the mean of natural
mixing (same setting and base model) by more than `BAD` standard deviations of natural mixing's seeds.
Natural mixing itself does not count. Shapes: T steps.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks.studies.rows import DRAWN, NATURAL, WORLDS, StudyRun, StudySetting
from benchmarks.studies.signals import Promise, Watched, promise, utilities

from dmix.mixing.effects.belief import BeliefSettings, Filter
from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.guard import GuardLimits, farm_limits
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.comparison.data.settings import SHIPPED
from dmix.training.comparison.effects.promises import PROMISES, read_table
from dmix.training.comparison.effects.world_plans import (
    COUNTS,
    COUNTS_PLAN,
    FITTING,
    PLAN,
    WorldPriors,
    priors_file,
    read_priors,
)
from dmix.training.model.settings import load_training, rate_shares

BAD = 2.0
"""Standard deviations of natural mixing's seeds below which an end is bad."""

EITHER, UTILITY, GENERAL = "either", "U", "general scores"
"""What makes an end bad."""

_PARTS = 16
"""Equal parts of a run at which noise is compared between runs of different lengths."""

Place = tuple[str, int]
"""Setting and base model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ended:
    """A run that is watched, and its end.

    Attributes:
        watched: The run.
        group: Its setting, all worlds together.
        drawn: Whether its mixtures were drawn at random.
        below_utility, below_general: Distance below natural mixing, in standard deviations of its seeds.
    """

    watched: Watched
    group: str
    drawn: bool
    below_utility: float
    below_general: float

    def ended_badly(self, end: str = EITHER) -> bool:
        """Whether it ended badly: in U, in its general scores, or in either."""
        below = {UTILITY: self.below_utility, GENERAL: self.below_general}
        return bool(max(below.values()) > BAD if end == EITHER else below[end] > BAD)


@dataclass(frozen=True, kw_only=True)
class Left:
    """Runs that the study cannot use, and why."""

    reason: str
    runs: int


def ended_runs(
    settings: Sequence[StudySetting], *, worlds: Path, results: Path
) -> tuple[list[Ended], list[Left]]:
    """All runs that can be watched, with their ends; and the others.

    Args:
        settings: Of all rounds.
        worlds: Folder of the worlds' setting files, for their priors.
        results: Folder of their results, for what counts promise.
    """
    left: dict[str, int] = defaultdict(int)
    found = []
    noise = {group: _end_noise([s for s in settings if s.group == group]) for group in _groups(settings)}
    steps = {group: _step_noise([s for s in settings if s.group == group]) for group in _groups(settings)}
    for setting in settings:
        limits, ends = _limits(setting), _natural_ends(setting)
        natural_steps = _natural_steps(setting)
        for run in setting.runs:
            place = (run.setting, run.base)
            spread = noise[setting.group]
            if run.controller == NATURAL:
                left["they are natural mixing, the reference"] += 1
            elif run.scores_TD is None:
                left["they are scored at their end alone"] += 1
            elif run.varied:
                left["their proxy differs from the setting, so natural mixing is no reference"] += 1
            elif run.judged_D is None:
                left["they are scored only on items that controllers read"] += 1
            elif place not in ends or spread is None:
                left["no natural mixing of the same setting and base model is stored"] += 1
            else:
                utility, general = setting.utility(run.judged_D), setting.general(run.judged_D)
                natural_T = natural_steps.get(place)
                curve = steps[setting.group]
                count = len(run.mixtures_TN)
                has = natural_T is not None and curve is not None and len(natural_T) == count
                found.append(
                    Ended(
                        watched=Watched(
                            run=run,
                            setting=setting,
                            limits=limits,
                            natural_T=natural_T if has else None,
                            natural_noise_T=_at_steps(curve, count) if has and curve is not None else None,
                            promise=_promise(run, setting, worlds=worlds, results=results),
                        ),
                        group=setting.group,
                        drawn=run.part in DRAWN,
                        below_utility=(ends[place][0] - utility) / spread[0],
                        below_general=(ends[place][1] - general) / spread[1],
                    )
                )
    return found, [Left(reason=reason, runs=runs) for reason, runs in left.items()]


def _groups(settings: Sequence[StudySetting]) -> list[str]:
    return list(dict.fromkeys(setting.group for setting in settings))


def _natural_by_base(setting: StudySetting) -> dict[int, list[StudyRun]]:
    found: dict[int, list[StudyRun]] = defaultdict(list)
    for run in setting.natural:
        if run.judged_D is not None:
            found[run.base].append(run)
    return found


def _natural_ends(setting: StudySetting) -> dict[Place, tuple[float, float]]:
    """Mean U and mean general gain of natural mixing on the items that nobody reads."""
    return {
        (setting.name, base): tuple(_ends(setting, runs).mean(0))  # type: ignore[misc]
        for base, runs in _natural_by_base(setting).items()
    }


def _ends(setting: StudySetting, runs: Sequence[StudyRun]) -> Vector:
    """U and general gain of each run, shape (runs, 2)."""
    gains = [run.judged_D for run in runs if run.judged_D is not None]
    return np.array([(setting.utility(gain_D), setting.general(gain_D)) for gain_D in gains])


def _end_noise(settings: Sequence[StudySetting]) -> tuple[float, float] | None:
    """Standard deviation of natural mixing's U and general gain over seeds, pooled; None without two."""
    squares, freedom = np.zeros(2), 0
    for setting in settings:
        for runs in _natural_by_base(setting).values():
            ends = _ends(setting, runs)
            squares += ((ends - ends.mean(0)) ** 2).sum(0)
            freedom += len(ends) - 1
    if not freedom or not squares.all():
        return None
    utility, general = np.sqrt(squares / freedom)
    return float(utility), float(general)


def _natural_steps(setting: StudySetting) -> dict[Place, Vector]:
    found: dict[Place, list[Vector]] = defaultdict(list)
    for run in setting.natural:
        if run.scores_TD is not None:
            found[setting.name, run.base].append(utilities(setting, run))
    return {place: np.mean(curves, axis=0) for place, curves in found.items()}


def _step_noise(settings: Sequence[StudySetting]) -> Vector | None:
    """Variance of natural mixing's U over seeds at equal parts of a run, mean over settings."""
    found = []
    for setting in settings:
        curves = [utilities(setting, run) for run in setting.natural if run.scores_TD is not None]
        if len(curves) > 1:
            variance_T = np.var(curves, axis=0, ddof=1)
            parts = np.arange(1, len(variance_T) + 1) / len(variance_T)
            found.append(np.interp(np.arange(1, _PARTS + 1) / _PARTS, parts, variance_T))
    return np.mean(found, axis=0) if found else None


def _at_steps(variance: Vector, steps: int) -> Vector:
    """Standard deviation at each of a run's steps."""
    spread: Vector = np.sqrt(
        np.interp(np.arange(1, steps + 1) / steps, np.arange(1, _PARTS + 1) / _PARTS, variance)
    )
    return spread


def _limits(setting: StudySetting) -> GuardLimits | None:
    """The guard's limits from the farm of a setting, as `farm_limits` makes them."""
    paths = [
        Trajectory(
            trajectory_id=run.controller,
            kind=run.part,
            top_k=None,
            mixtures_TN=np.vstack([setting.space.start_N, run.mixtures_TN]),
        )
        for run in setting.runs
        if run.part == "draw" and not run.varied
    ]
    return farm_limits(paths) if paths else None


def _promise(run: StudyRun, setting: StudySetting, *, worlds: Path, results: Path) -> Promise | None:
    """What priors of other worlds promise of a constant plan; None for other runs and in fitting worlds."""
    kind = setting.name.rpartition("-")[0]
    if setting.group != WORLDS or kind == FITTING or run.controller not in (COUNTS_PLAN, PLAN):
        return None
    priors = read_priors(priors_file(worlds / f"{setting.name}.yaml", kind))
    promised = {
        (row["estimator"], row["objective"]): row["promised"]
        for row in read_table(results / setting.name, PROMISES)
        if row["spec"] == f"world:{run.controller}"
    }
    if any((COUNTS, name) not in promised for name in setting.objectives):
        return None
    return promise(
        setting,
        mixture_N=run.mixtures_TN[0],
        promised_D=np.array([promised[COUNTS, name] for name in setting.objectives]),
        linear_D=np.array([promised.get(("gradient", name), 0.0) for name in setting.objectives]),
        priors=priors,
        reached_T=reached_parts(setting, priors, steps=len(run.mixtures_TN)),
    )


def reached_parts(setting: StudySetting, priors: WorldPriors, *, steps: int) -> Vector:
    """Part of a run's gains that is expected by each step: its learning rates, and the saturation."""
    training = load_training(SHIPPED / "training.yaml")
    batches = steps * setting.step_samples // training.batch_size
    belief = BeliefSettings(saturation=priors.saturation)
    curve = Filter(belief, scales_D=setting.scale_D, steps=steps)
    shares = np.array(rate_shares(steps, total=batches, settings=training))
    reached_T: Vector = np.cumsum(curve.gain_shares(shares))
    return reached_T
