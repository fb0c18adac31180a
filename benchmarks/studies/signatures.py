"""Failure signatures: which signals precede a bad end, and how often they precede a good one.

Shapes: T steps.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from benchmarks.studies.ended import EITHER, GENERAL, UTILITY, Ended
from benchmarks.studies.signals import EXTREME_SHARE, SIGNALS, Signal, target_share
from benchmarks.studies.statistics import Interval, wilson

from dmix.mixing.space.domains import Vector

FRACTIONS = (0.25, 0.5, 0.75)
ALL, CONTROLLERS, DRAWS, MODERATE = "all", "controllers", "random mixtures", "moderate controllers"
SUBSETS = (ALL, CONTROLLERS, DRAWS, MODERATE)
"""Of these, moderate ones keep the target share of the first half at `EXTREME_SHARE` or below."""


@dataclass(frozen=True, kw_only=True)
class AlarmRow:
    """How one alarm did.

    Attributes:
        runs: Which runs: one of `SUBSETS`, or those of one group of settings.
        end: What makes an end bad: U, general scores, or either.
        signal, threshold: Which alarm.
        fraction: Part of the run by which it fires.
        watched: Runs that have the signal.
        bad: Of these, those with a bad end.
        alarms: Runs in which it fires by then.
        hits: Of these, those with a bad end.
        precision, precision_low, precision_high: Hits per alarm, with the interval of Wilson.
        recall, recall_low, recall_high: Hits per bad end.
        false_alarm, false_alarm_low, false_alarm_high: Alarms per good end.
        bad_controllers: Different controllers with a bad end; every random mixture is one of its own.
        hit_controllers: Of these, those with a run in which the alarm fires.
        first_alarm: Part of the run at which the alarm first fires in runs with a bad end, median.
    """

    runs: str
    end: str
    signal: str
    threshold: float
    fraction: float
    watched: int
    bad: int
    alarms: int
    hits: int
    precision: float
    precision_low: float
    precision_high: float
    recall: float
    recall_low: float
    recall_high: float
    false_alarm: float
    false_alarm_low: float
    false_alarm_high: float
    bad_controllers: int
    hit_controllers: int
    first_alarm: float

    @property
    def tells(self) -> bool:
        """Whether it fires before bad ends more often than before good ones, beyond both intervals."""
        return self.recall_low > self.false_alarm_high


@dataclass(frozen=True, kw_only=True)
class CarriedRow:
    """A threshold that was chosen without a group of settings, and its results there.

    Attributes:
        signal: Which.
        end: What makes an end bad.
        group: What was left out.
        threshold: The one with the largest recall minus false alarms in all other groups.
        watched, bad: Runs of the group, and those with a bad end.
        recall, false_alarm: In the group.
        other_recall, other_false_alarm: In the others.
    """

    signal: str
    end: str
    group: str
    threshold: float
    watched: int
    bad: int
    recall: float
    false_alarm: float
    other_recall: float
    other_false_alarm: float


def fired(level_T: Vector, threshold: float, fraction: float) -> bool:
    """Whether a level exceeds a threshold by a fraction of the run, at the earliest after one step."""
    by = max(1, math.floor(fraction * len(level_T)))
    return bool((level_T[:by] > threshold).any())


def alarm_rows(found: Sequence[Ended], signals: Sequence[Signal] = SIGNALS) -> list[AlarmRow]:
    """Every alarm, at every threshold and fraction, for every kind of bad end and every subset of runs."""
    subsets = {
        ALL: found,
        CONTROLLERS: [ended for ended in found if not ended.drawn],
        DRAWS: [ended for ended in found if ended.drawn],
        MODERATE: [
            e for e in found if not e.drawn and not fired(target_share(e.watched), EXTREME_SHARE, 0.5)
        ],
    }
    subsets |= {
        group: [e for e in found if e.group == group] for group in dict.fromkeys(e.group for e in found)
    }
    rows = []
    for signal in signals:
        levels = {id(ended): signal.level(ended.watched) for ended in found}
        for name, subset in subsets.items():
            own = [(e, level) for e in subset if (level := levels[id(e)]) is not None]
            rows += [
                _alarm_row(own, threshold, fraction, runs=name, end=end, signal=signal.name)
                for end in (EITHER, UTILITY, GENERAL)
                for threshold in signal.thresholds
                for fraction in FRACTIONS
            ]
    return rows


def carried_rows(
    found: Sequence[Ended],
    signals: Sequence[Signal] = SIGNALS,
    *,
    end: str = EITHER,
    fraction: float = 0.5,
) -> list[CarriedRow]:
    """Each threshold that others would have chosen, group by group; signals with one threshold have none."""
    rows = []
    for signal in signals:
        if len(signal.thresholds) < 2:
            continue
        levels = [(e, signal.level(e.watched)) for e in found]
        own = [(e.group, e.ended_badly(end), level) for e, level in levels if level is not None]
        for group in dict.fromkeys(group for group, _, _ in own):
            inside = [(bad, level) for g, bad, level in own if g == group]
            others = [(bad, level) for g, bad, level in own if g != group]
            if not (any(bad for bad, _ in others) and not all(bad for bad, _ in others)):
                continue

            def gain(threshold: float, runs: Sequence[tuple[bool, Vector]] = others) -> float:
                hit, false = _rates(runs, threshold, fraction)
                return hit - false

            threshold = max(signal.thresholds, key=gain)
            hit, false = _rates(inside, threshold, fraction)
            other_hit, other_false = _rates(others, threshold, fraction)
            rows.append(
                CarriedRow(
                    signal=signal.name,
                    end=end,
                    group=group,
                    threshold=threshold,
                    watched=len(inside),
                    bad=sum(bad for bad, _ in inside),
                    recall=hit,
                    false_alarm=false,
                    other_recall=other_hit,
                    other_false_alarm=other_false,
                )
            )
    return rows


def _alarm_row(
    own: Sequence[tuple[Ended, Vector]],
    threshold: float,
    fraction: float,
    *,
    runs: str,
    end: str,
    signal: str,
) -> AlarmRow:
    bad = [(e, level) for e, level in own if e.ended_badly(end)]
    alarms = sum(fired(level, threshold, fraction) for _, level in own)
    hit = [(e, level) for e, level in bad if fired(level, threshold, fraction)]
    first = [(int(np.argmax(level > threshold)) + 1) / len(level) for _, level in hit]
    return AlarmRow(
        runs=runs,
        end=end,
        signal=signal,
        threshold=threshold,
        fraction=fraction,
        watched=len(own),
        bad=len(bad),
        alarms=alarms,
        hits=len(hit),
        **_columns("precision", wilson(len(hit), alarms)),
        **_columns("recall", wilson(len(hit), len(bad))),
        **_columns("false_alarm", wilson(alarms - len(hit), len(own) - len(bad))),
        bad_controllers=len({(e.group, e.watched.run.controller) for e, _ in bad}),
        hit_controllers=len({(e.group, e.watched.run.controller) for e, _ in hit}),
        first_alarm=float(np.median(first)) if first else float("nan"),
    )


def _columns(name: str, found: Interval) -> dict[str, float]:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


def _rates(own: Sequence[tuple[bool, Vector]], threshold: float, fraction: float) -> tuple[float, float]:
    """Recall and false alarms; NaN where there is no bad or no good end."""
    by_end: dict[bool, list[bool]] = {True: [], False: []}
    for bad, level in own:
        by_end[bad].append(fired(level, threshold, fraction))
    hit, false = (float(np.mean(by_end[end])) if by_end[end] else float("nan") for end in (True, False))
    return hit, false


def bad_by_controller(found: Sequence[Ended]) -> Mapping[tuple[str, str], tuple[int, int, int]]:
    """(bad in U, bad in either, runs) by group and controller, random mixtures left out."""
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for ended in found:
        if not ended.drawn:
            own = counts[ended.group, ended.watched.run.controller]
            own[0] += ended.ended_badly(UTILITY)
            own[1] += ended.ended_badly()
            own[2] += 1
    return {key: (utility, either, runs) for key, (utility, either, runs) in counts.items()}
