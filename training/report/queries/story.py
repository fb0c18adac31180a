"""What the agent of a run did, in sentences, and what it forecast of its scores."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from dmix.training.report.queries import series
from dmix.training.report.queries.run_facts import Run

# What each kind of event is, a clause that starts a sentence.
MIXTURE_EVENTS = {
    "exhausted": "A domain ran out of samples",
    "guard": "The guard rails limited the mixture",
    "alarm": "The mixture was outside the range of the agent's training",
    "fallback": "Natural mixing replaced the mixture",
    "fall_back": "Natural mixing replaced the mixture",
    "supply": "The target text lasts for another number of steps than in the agent's training",
}
_COUNTS = {1: "once", 2: "twice", 3: "three times"}


@dataclass(frozen=True)
class Forecast:
    """Forecast of a score before a step, and the real score.

    Attributes:
        step: The step.
        expected: Mean, in nats per token.
        low: Lower end of the 95% interval.
        high: Upper end of it.
        got: The score after the step; None where it is missing.
    """

    step: int
    expected: float
    low: float
    high: float
    got: float | None

    @property
    def held(self) -> bool | None:
        """Whether the score came within the interval; None before it is there."""
        return None if self.got is None else self.low <= self.got <= self.high


def forecasts(run: Run) -> dict[str, list[Forecast]]:
    """Forecasts of a run by objective, by step; what is no forecast is left out."""
    found: dict[str, dict[int, Forecast]] = {}
    for event in run.events:
        if event.kind != "forecast" or event.step is None:
            continue
        for name, values in _objectives(event.detail).items():
            expected, low, high = (_number(values, key) for key in ("expected", "low", "high"))
            if math.isfinite(expected + low + high):
                got = dict(run.scores.get(name, ())).get(event.step)
                scored = got if got is not None and math.isfinite(got) else None
                # of a step that was decided twice, the last forecast counts
                found.setdefault(name, {})[event.step] = Forecast(event.step, expected, low, high, scored)
    return {name: [of[step] for step in sorted(of)] for name, of in found.items()}


def mixture_story(run: Run) -> str:
    """How the target share moved, and how often and why something held the agent back."""
    share = series.target_share(run)
    if share is None:
        return ""
    who = f"{run.controller} " if run.kind != "guided" else "The agent "
    first, last = share.first, share.last
    if share.constant:
        told = f"{who}kept the target share at {share.whole:.0%}"
    else:
        moved = "raised" if last > first else "lowered"
        told = f"{who}{moved} the target share from {first:.0%} to {last:.0%}"
    least = max(0.05, share.rounding)
    ends = [
        *([f"a low of {share.low:.0%}"] if min(first, last) - share.low > least else []),
        *([f"a high of {share.high:.0%}"] if share.high - max(first, last) > least else []),
    ]
    told += f", with {' and '.join(ends)} in between" if ends else ""
    told += "" if share.constant else f"; it was {share.whole:.0%} over the whole run"
    return " ".join([f"{told}.", *_held_back(run)])


def forecast_story(run: Run) -> str:
    """How many scores came as forecast, and what the last one came to; empty without forecasts."""
    by_objective = forecasts(run)
    seen = [one for of in by_objective.values() for one in of if one.held is not None]
    if not seen:
        return ""
    held = sum(bool(one.held) for one in seen)
    last = [
        f"{name} {scored[-1].got:+.2f}, forecast {scored[-1].expected:+.2f}"
        f" ({scored[-1].low:+.2f} to {scored[-1].high:+.2f})"
        for name, of in by_objective.items()
        if (scored := [one for one in of if one.got is not None])
    ]
    return (
        f"{held} of {len(seen)} scores were within the agent's 95% interval. Scores after the last step: "
        f"{'; '.join(last)}."
    )


def _held_back(run: Run) -> list[str]:
    """One sentence per kind of intervention, with how often and why the first time."""
    marks = series.mixture_events(run)
    counts = Counter(event.kind for event in marks)
    said = []
    for kind, count in counts.items():
        times = _COUNTS.get(count, f"{count} times")
        of_kind = [event for event in marks if event.kind == kind]
        steps = list(dict.fromkeys(event.step for event in of_kind))
        where = f"step{'s' if len(steps) > 1 else ''} {', '.join(map(str, steps[:5]))}"
        where += " and later" if len(steps) > 5 else ""
        what = event_words(kind)
        why = of_kind[-1].detail.rstrip(".")[:160]
        said.append(f"{what} {times} ({where}){f': {why}' if why else ''}.")
    return said


def event_words(kind: str) -> str:
    """A kind of event about the mixture in words; controllers of users have kinds of their own."""
    return MIXTURE_EVENTS.get(kind, f"There was an event ({kind.replace('_', ' ')})")


def _objectives(detail: str) -> Mapping[str, Mapping[str, float]]:
    try:
        value = json.loads(detail)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        return {}
    return {name: values for name, values in value.items() if isinstance(values, dict)}


def _number(values: Mapping[str, float], key: str) -> float:
    value = values.get(key)
    return float(value) if isinstance(value, int | float) else math.nan
