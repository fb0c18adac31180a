"""Order: is the order in which a run reads its text worth anything beyond what it reads in all?

From the random schedules and constant mixtures of the first two rounds' farms, one run each. The final
score is explained by the mean mixture of the run, and by its order: *slope*, how much the target share rises
from the first step to the last (line by least squares), and *movement*, the mean distance of a step's
mixture from the mean mixture (total variation). Shapes: T steps, N domains, R runs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.studies.rows import StudyRun, StudySetting
from benchmarks.studies.statistics import Interval, least_squares, mean_interval

from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.simplex import clipped, kl, total_variation
from dmix.training.comparison.data.settings import SHIPPED
from dmix.training.model.settings import load_training, rate_shares

SLOPE, MOVEMENT = "slope", "movement"
OUTCOMES = ("U", "U without aqua", "general scores", "target scores")
SIMPLE, FULL, WEIGHTED = "simple", "full", "by learning rate"
MIXTURES = {
    SIMPLE: "target share, its square, and KL from natural shares within each field",
    FULL: "these, and the first four principal components of the mean mixtures",
    WEIGHTED: "as *simple*, where each step of the mean counts by its learning rate",
}

SAME_MEAN, OTHER_ORDER = 0.02, 0.1
"""Total variation: mean mixtures closer than the first count as the same; steps further apart than the second
as another order."""

CONSTANT = 0.01
"""Movement up to which a mixture counts as constant: delivery rounds to whole samples."""

_DIRECTIONS = 4
_AQUA = "aqua"


@dataclass(frozen=True, kw_only=True)
class OrderRow:
    """What order adds to the mean mixture.

    Attributes:
        setting: Its setting, or a mean over several.
        outcome: One of `OUTCOMES`, in spreads s, on the judging items.
        mixture: How the mean mixture is described.
        runs: Random mixtures and schedules.
        schedules: Of these, schedules.
        slope, slope_low, slope_high: Gain if the target share rises by 1 over the run, at the same mean.
        movement, movement_low, movement_high: Gain for each unit of movement.
        predicted_mean: Part of the variance predicted, each run left out, by the mean mixture alone.
        predicted: The same with slope and movement.
    """

    setting: str
    outcome: str
    mixture: str
    runs: int
    schedules: int
    slope: float
    slope_low: float
    slope_high: float
    movement: float
    movement_low: float
    movement_high: float
    predicted_mean: float
    predicted: float


def slope_of(share_T: Vector) -> float:
    """Rise of a share from the first step to the last, along the line by least squares."""
    time_T = np.linspace(-0.5, 0.5, len(share_T))
    return float(time_T @ share_T / (time_T @ time_T))


def movement_of(mixtures_TN: Array) -> float:
    """Mean total variation of a step's mixture from the run's mean mixture; 0 for a constant one."""
    return float(total_variation(mixtures_TN, mixtures_TN.mean(0)).mean())


def mean_columns(means_RN: Array, space: DomainSpace, *, directions: int = 0) -> Array:
    """Columns that describe mean mixtures, a constant first, shape (R, C); constant ones are left out."""
    share_R = means_RN @ space.target_N.astype(np.float64)
    columns = [share_R, share_R**2]
    for field_N in (~space.target_N, space.target_N):
        own_N = field_N & space.active_N
        natural_N = clipped(space.natural_N[own_N])
        columns.append(
            np.array([float(kl(clipped(mean_N[own_N] + 1e-12), natural_N)) for mean_N in means_RN])
        )
    centred_RN = means_RN - means_RN.mean(0)
    _, spread_K, direction_KN = np.linalg.svd(centred_RN, full_matrices=False)
    columns += [centred_RN @ direction_KN[k] for k in range(min(directions, int((spread_K > 1e-9).sum())))]
    varied = [column for column in columns if np.ptp(column) > 1e-9]
    found: Array = np.column_stack([np.ones(len(means_RN)), *varied])
    return _independent(found)


def order_rows(settings: Sequence[StudySetting]) -> list[OrderRow]:
    """Each setting of the first two rounds, each outcome, and their means over settings."""
    rows = []
    for setting in settings:
        runs = [r for r in setting.runs if r.part == "draw" and not r.varied and r.judged_D is not None]
        if not any(movement_of(run.mixtures_TN) > CONSTANT for run in runs):
            continue
        for outcome in OUTCOMES:
            value_D = _value(setting, outcome)
            if value_D is not None:
                rows += [_order_row(setting, runs, value_D, outcome, mixture) for mixture in MIXTURES]
    found = [row for row in rows if row is not None]
    return found + _means(found)


@dataclass(frozen=True, kw_only=True)
class PairsRow:
    """Pairs of runs of a setting with the same mean mixture in another order.

    Attributes:
        setting: Its setting.
        pairs: How many; a run can be in several.
        runs: Different runs in them.
        earlier_ahead: Pairs in which the run whose target share rises less has the higher U.
        difference: Its mean lead, in U.
    """

    setting: str
    pairs: int
    runs: int
    earlier_ahead: int
    difference: float


def pairs_rows(settings: Sequence[StudySetting]) -> list[PairsRow]:
    """Each setting with such pairs, among random mixtures and schedules on one seed."""
    rows = []
    for setting in settings:
        value_D, target_N = setting.weight_D / setting.scale_D, setting.space.target_N.astype(np.float64)
        known = [
            (run, run.mixtures_TN.mean(0), slope_of(run.mixtures_TN @ target_N), run.judged_D @ value_D)
            for run in setting.runs
            if run.part == "draw" and not run.varied and run.judged_D is not None
        ]
        leads, members = [], set()
        for number, (first, mean_N, slope, utility) in enumerate(known):
            for other, other_mean_N, other_slope, other_utility in known[number + 1 :]:
                steps = float(total_variation(first.mixtures_TN, other.mixtures_TN).mean())
                if steps <= OTHER_ORDER or total_variation(mean_N, other_mean_N) >= SAME_MEAN:
                    continue
                lead = float(utility - other_utility)
                leads.append(lead if slope < other_slope else -lead)
                members |= {first.controller, other.controller}
        if leads:
            rows.append(
                PairsRow(
                    setting=setting.name,
                    pairs=len(leads),
                    runs=len(members),
                    earlier_ahead=sum(lead > 0 for lead in leads),
                    difference=float(np.mean(leads)),
                )
            )
    return rows


def _order_row(
    setting: StudySetting, runs: Sequence[StudyRun], value_D: Vector, outcome: str, mixture: str
) -> OrderRow | None:
    part_T = _parts(setting, len(runs[0].mixtures_TN), weighted=mixture == WEIGHTED)
    means_RN = np.array([part_T @ run.mixtures_TN for run in runs])
    base_RC = mean_columns(means_RN, setting.space, directions=_DIRECTIONS if mixture == FULL else 0)
    target_N = setting.space.target_N.astype(np.float64)
    slope_R = np.array([slope_of(run.mixtures_TN @ target_N) for run in runs])
    movement_R = np.array([movement_of(run.mixtures_TN) for run in runs])
    outcome_R = np.array([run.judged_D @ value_D for run in runs if run.judged_D is not None])
    before = least_squares(base_RC, outcome_R)
    after = least_squares(np.column_stack([base_RC, slope_R, movement_R]), outcome_R)
    if before is None or after is None:
        return None
    slope, movement = after.coefficients[-2:]
    return _row(
        setting.name,
        outcome,
        mixture,
        counts=(len(runs), int((movement_R > CONSTANT).sum())),
        slope=slope,
        movement=movement,
        predicted=(before.predicted, after.predicted),
    )


def _row(
    setting: str,
    outcome: str,
    mixture: str,
    *,
    counts: tuple[int, int],
    slope: Interval,
    movement: Interval,
    predicted: tuple[float, float],
) -> OrderRow:
    return OrderRow(
        setting=setting,
        outcome=outcome,
        mixture=mixture,
        runs=counts[0],
        schedules=counts[1],
        slope=slope.value,
        slope_low=slope.low,
        slope_high=slope.high,
        movement=movement.value,
        movement_low=movement.low,
        movement_high=movement.high,
        predicted_mean=predicted[0],
        predicted=predicted[1],
    )


def _means(rows: Sequence[OrderRow]) -> list[OrderRow]:
    """Means over settings, with Student's t over them."""
    found = []
    for outcome in OUTCOMES:
        for mixture in MIXTURES:
            own = [row for row in rows if (row.outcome, row.mixture) == (outcome, mixture)]
            if len(own) < 2:
                continue
            found.append(
                _row(
                    f"mean of {len(own)} settings",
                    outcome,
                    mixture,
                    counts=(sum(row.runs for row in own), sum(row.schedules for row in own)),
                    slope=mean_interval(np.array([row.slope for row in own])),
                    movement=mean_interval(np.array([row.movement for row in own])),
                    predicted=(
                        float(np.mean([row.predicted_mean for row in own])),
                        float(np.mean([row.predicted for row in own])),
                    ),
                )
            )
    return found


def _parts(setting: StudySetting, steps: int, *, weighted: bool) -> Vector:
    """What each step counts in the mean mixture, sum 1."""
    if not weighted:
        return np.full(steps, 1 / steps)
    training = load_training(SHIPPED / "training.yaml")
    batches = steps * setting.step_samples // training.batch_size
    return np.array(rate_shares(steps, total=batches, settings=training))


def _value(setting: StudySetting, outcome: str) -> Vector | None:
    """What a nat of each objective is worth; None where the outcome has no objective of its own."""
    kept_D = {
        "U": np.ones(len(setting.objectives), bool),
        "U without aqua": np.array([name != _AQUA for name in setting.objectives]),
        "general scores": setting.general_D,
        "target scores": ~setting.general_D,
    }[outcome]
    weight_D = np.where(kept_D, setting.weight_D, 0.0)
    if not weight_D.any() or (outcome == "U without aqua" and kept_D.all()):
        return None
    return weight_D / weight_D.sum() / setting.scale_D


def _independent(columns_RC: Array) -> Array:
    """Columns, less each that depends on those before it."""
    kept: list[Vector] = []
    for column_R in columns_RC.T:
        if np.linalg.matrix_rank(np.column_stack([*kept, column_R])) == len(kept) + 1:
            kept.append(column_R)
    return np.column_stack(kept)
