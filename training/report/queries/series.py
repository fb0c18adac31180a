"""Numbers of the report: shares, tokens so far, final scores, settings.

Shapes: T steps, N (field, domain) pairs, F = 2 fields (source, target), B bins of steps.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.objectives import Environment, utility
from dmix.training.report.queries.reader import Pair
from dmix.training.report.queries.run_facts import Run, RunEvent
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.taxonomy import FIELDS

logger = logging.getLogger(__name__)

# The three states of a mixture: what the controller said, what was scheduled, what was trained on.
QUANTITIES = ("delivered", "planned", "asked")
# The one meaning of "target share" on the page.
TARGET_SHARE = (
    "Target share: share of target samples among all samples that the run read; in brackets, in the first "
    "and in the last step"
)
# Events that say nothing of the mixture: starts and ends, forecasts, and notes on files and machines.
PLAIN_MARKS = {
    *("run_started", "run_done", "run_failed", "run_stopped", "content_changed", "shadow", "forecast"),
    *("checkpoint", "gradients", "loss_jump", "microbatch_size", "non_finite_loss", "note"),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Shares:
    """A mixture over steps: asked, planned or delivered.

    Attributes:
        steps_T: Numbers of the steps that it is known for.
        weights_TN: Shares of samples, summing to 1 in each step.
        width: Steps that one row stands for; above 1 the rows are means.
    """

    steps_T: NDArray[np.int64]
    weights_TN: Vector
    width: int = 1

    def by_field(self, pairs: Sequence[Pair]) -> Vector:
        """Shares of the two fields, shape (T, F)."""
        member_NF = np.array([[pair[0] == field for field in FIELDS] for pair in pairs], dtype=np.float64)
        return self.weights_TN @ member_NF.reshape(-1, len(FIELDS))


@dataclass(frozen=True, kw_only=True)
class FinalScore:
    """First and last score of an objective in a run, in nats per token."""

    first: float | None
    last: float
    step: int

    @property
    def change(self) -> float | None:
        return None if self.first is None else self.last - self.first


@dataclass(frozen=True, kw_only=True)
class TargetShare:
    """Target samples among all samples that a run read. All samples have equally many tokens.

    Attributes:
        whole: Of all steps together.
        first: Of the first step.
        last: Of the last step.
        low: The smallest of a step.
        high: The largest of a step.
        rounding: Half a percentage point, or one sample of the smallest step if that is more.
        constant: Whether the plans of the first and the last step, or the steps, differ by rounding alone.
    """

    whole: float
    first: float
    last: float
    low: float
    high: float
    rounding: float
    constant: bool


def target_share(run: Run) -> TargetShare | None:
    """The target share of a run so far; None before its first step."""
    delivered = shares(run, "delivered")
    samples_N = np.nan_to_num(run.samples_TN).sum(axis=0)
    if not len(delivered.steps_T) or not samples_N.sum():
        return None
    target_T = delivered.by_field(run.pairs)[:, FIELDS.index("target")]
    target_N = np.array([pair[0] == "target" for pair in run.pairs])
    drawn_T = np.nan_to_num(run.samples_TN).sum(axis=1)
    # a share is a whole number of samples
    rounding = max(0.005, 1.01 / float(drawn_T[drawn_T > 0].min()))
    planned = shares(run, "planned")
    planned_T = planned.by_field(run.pairs)[: len(target_T), FIELDS.index("target")]
    moved = min(abs(of[-1] - of[0]) for of in (target_T, planned_T) if len(of))
    return TargetShare(
        whole=float(samples_N[target_N].sum() / samples_N.sum()),
        first=float(target_T[0]),
        last=float(target_T[-1]),
        low=float(target_T.min()),
        high=float(target_T.max()),
        rounding=rounding,
        constant=bool(moved <= rounding),
    )


def shares(run: Run, quantity: str) -> Shares:
    """One of `QUANTITIES` of a run, for the steps where it is known."""
    weights_TN = {"asked": run.asked_TN, "planned": run.planned_TN, "delivered": run.samples_TN}[quantity]
    known_T = ~np.isnan(weights_TN).all(axis=1) if run.pairs else np.zeros(len(run.steps_T), dtype=bool)
    filled_TN = np.nan_to_num(weights_TN[known_T])
    total_T1 = filled_TN.sum(axis=1, keepdims=True)
    safe_T1 = np.where(total_T1 > 0, total_T1, 1.0)
    return Shares(steps_T=run.steps_T[known_T], weights_TN=filled_TN / safe_T1)


def thinned(mixture: Shares, *, limit: int) -> Shares:
    """At most `limit` rows: means over equally many neighbouring steps, at the first of them."""
    width = -(-len(mixture.steps_T) // limit)
    if width <= 1:
        return mixture
    starts_B = np.arange(0, len(mixture.steps_T), width)
    counts_B = np.diff(np.append(starts_B, len(mixture.steps_T)))
    sums_BN = np.add.reduceat(mixture.weights_TN, starts_B, axis=0)
    return Shares(
        steps_T=mixture.steps_T[starts_B], weights_TN=sums_BN / counts_B[:, None], width=mixture.width * width
    )


def tokens_so_far(run: Run) -> dict[str, dict[int, float]]:
    """Tokens trained on until the end of each delivered step, by field; 0 at step 0."""
    delivered_T = ~np.isnan(run.tokens_TN).all(axis=1) if run.pairs else np.zeros(0, dtype=bool)
    so_far: dict[str, dict[int, float]] = {}
    for field in FIELDS:
        member_N = np.array([pair[0] == field for pair in run.pairs], dtype=bool)
        tokens_T = np.nan_to_num(run.tokens_TN[delivered_T][:, member_N]).sum(axis=1).cumsum()
        so_far[field] = {0: 0.0} | {
            int(step): float(count) for step, count in zip(run.steps_T[delivered_T], tokens_T, strict=True)
        }
    return so_far


def field_loss(run: Run, field: str) -> Vector:
    """Mean training loss of a field in each step, nats per token; NaN where it gave no tokens, shape (T,)."""
    member_N = np.array([pair[0] == field for pair in run.pairs], dtype=bool)
    tokens_TN = np.nan_to_num(run.loss_tokens_TN[:, member_N])
    total_T = tokens_TN.sum(axis=1)
    summed_T = (np.nan_to_num(run.loss_TN[:, member_N]) * tokens_TN).sum(axis=1)
    return np.divide(summed_T, total_T, out=np.full(len(total_T), np.nan), where=total_T > 0)


def tokens_used(run: Run) -> dict[str, int]:
    """Tokens trained on so far, by field."""
    return {field: int(max(counts.values())) for field, counts in tokens_so_far(run).items()}


def mixture_events(run: Run) -> list[RunEvent]:
    """Events in which something changed a mixture or warned of it, in order."""
    return [event for event in run.events if event.step is not None and event.kind not in PLAIN_MARKS]


def final_scores(run: Run) -> dict[str, FinalScore]:
    """First (step 0) and last finite score of every objective; objectives without one are left out."""
    found = {}
    for objective, points in run.scores.items():
        finite = [(step, score) for step, score in points if np.isfinite(score)]
        if finite:
            first = finite[0][1] if finite[0][0] == 0 else None
            found[objective] = FinalScore(first=first, last=finite[-1][1], step=finite[-1][0])
    return found


def final_utility(run: Run) -> float | None:
    """U of the last scores against step 0 (method §3).

    None if the run's configuration holds no environment, or a score is missing.
    """
    environment = environment_of(run.config)
    scores = final_scores(run)
    if environment is None or not scores:
        return None
    ends = [scores.get(name) for name in environment.names]
    if any(end is None or end.first is None for end in ends):
        return None
    first_D, last_D = (np.array([getattr(end, name) for end in ends]) for name in ("first", "last"))
    return float(utility(last_D, first_D, environment.scales_D, environment.weights_D))


def environment_of(config: Mapping[str, Any]) -> Environment | None:
    """The environment in a run's configuration, at any depth."""
    for _, value in walk(config):
        if isinstance(value, dict) and _are_objectives(value.get("objectives")):
            try:
                return settings_from(Environment, value, where="the run's configuration")
            except InputError as error:
                logger.warning("the report does not show the utility of a run: %s", error)
    return None


def _are_objectives(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)


def walk(config: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and value of everything in a configuration, outer entries first."""
    for name, value in config.items():
        here = f"{path}.{name}" if path else str(name)
        yield here, value
        if isinstance(value, dict):
            yield from walk(value, here)


def setting_of(config: Mapping[str, Any], *names: str) -> Any:
    """The outermost value in a configuration under one of `names`; None if there is none."""
    found = [
        (path.count("."), value)
        for path, value in walk(config)
        if path.rsplit(".", 1)[-1] in names and not isinstance(value, dict) and value is not None
    ]
    return min(found, key=lambda entry: entry[0])[1] if found else None


def seeds_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Every seed in a configuration by its dotted name."""
    return {
        path: value
        for path, value in walk(config)
        if path.rsplit(".", 1)[-1].endswith("seed") and isinstance(value, int)
    }
