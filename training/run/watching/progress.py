"""Messages to people during a run.

A monitor gets the numbers of every batch and step; `LineMonitor` makes a line per step of them, for
log files and pipes, and `dmix.cli.show.progress_display` a display for terminals.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class BatchReport:
    """How far a run is within a step.

    Attributes:
        step: The step under way, from 1.
        steps: M.
        batch: Global batches of the step that are done.
        batches: Global batches of the step.
        target_share: Share of the target field among the samples of this step.
        source_tokens: Tokens of the source field trained on before this step.
        target_tokens: Tokens of the target field trained on before this step.
        step_tokens: Tokens of this step trained on so far.
        seconds_left: Expected time until the run ends, scoring included.
    """

    step: int
    steps: int
    batch: int
    batches: int
    target_share: float
    source_tokens: int
    target_tokens: int
    step_tokens: int
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """A step that has ended.

    Attributes:
        step: The step, from 1.
        steps: M.
        target_share: Share of the target field among its samples.
        source_tokens: Tokens of the source field trained on so far.
        target_tokens: Tokens of the target field trained on so far.
        loss: Mean training loss of the step in nats per token.
        scores: Score of each objective after the step, nats per token.
        first_scores: The same before any training.
        utility: U after the step; None without an environment.
        seconds: Time of the step, scoring included.
        seconds_left: Expected time of the steps to come.
    """

    step: int
    steps: int
    target_share: float
    source_tokens: int
    target_tokens: int
    loss: float
    scores: Mapping[str, float]
    first_scores: Mapping[str, float]
    utility: float | None
    seconds: float
    seconds_left: float


class Monitor(Protocol):
    """Receives the progress of a run. Rank 0 alone calls it, between batches, so it must be quick."""

    def batch(self, report: BatchReport) -> None:
        """Takes note of a batch that has ended."""

    def step(self, report: StepReport) -> None:
        """Takes note of a step that has ended and was scored."""


class LineMonitor:
    """A line per step.

    Args:
        progress: Receives the lines.
    """

    def __init__(self, progress: Callable[[str], None]) -> None:
        self._progress = progress

    def batch(self, report: BatchReport) -> None:
        """Says nothing."""

    def step(self, report: StepReport) -> None:
        self._progress(step_line(report))


def step_line(report: StepReport) -> str:
    """One line, for example
    `step 3/20 · target 42% · 1.2M tokens · loss 3.214 · maths -2.31 (+0.20) · U +0.52 · 12 s for the step`.
    """
    parts = [
        f"step {report.step}/{report.steps}",
        f"target {report.target_share:.0%}",
        f"{quantity(report.source_tokens + report.target_tokens)} tokens",
        f"loss {report.loss:.3f}",
    ]
    parts += [f"{name} {score_text(report, name)}" for name in report.scores]
    if report.utility is not None:
        parts.append(f"U {report.utility:+.3f}")
    parts.append(f"{duration(report.seconds)} for the step")
    if report.step < report.steps:
        parts.append(f"about {duration(report.seconds_left)} left")
    return " · ".join(parts)


def score_text(report: StepReport, objective: str) -> str:
    """A score with its change from before any training, for example `-2.310 (+0.200)`."""
    score = report.scores[objective]
    change = score - report.first_scores.get(objective, math.nan)
    return f"{score:.3f}" + (f" ({change:+.3f})" if math.isfinite(change) else "")


def quantity(number: float) -> str:
    """A count in the unit that people would use, three digits: 950, 12.3K, 1.20M."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """A duration in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
