"""Lines that tell people how a run is doing."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step's line shows.

    Attributes:
        target_share: Planned share of the target field.
        loss: Mean training loss of the step in nats a token.
        utility: U after the step; None without an environment.
        seconds: Time of the step, scoring included.
        seconds_left: Expected time of the steps to come.
    """

    step: int
    steps: int
    target_share: float
    loss: float
    utility: float | None
    seconds: float
    seconds_left: float


def step_line(report: StepReport) -> str:
    """One line, for example `step 3/20 · target 42% · loss 3.214 · U +0.52 · 12 s · 3 min left`."""
    parts = [
        f"step {report.step}/{report.steps}",
        f"target {report.target_share:.0%}",
        f"loss {report.loss:.3f}",
    ]
    if report.utility is not None:
        parts.append(f"U {report.utility:+.3f}")
    parts.append(duration(report.seconds))
    if report.step < report.steps:
        parts.append(f"about {duration(report.seconds_left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """A duration in the unit that people would use."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
