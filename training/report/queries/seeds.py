"""Runs that differ in nothing but their seeds, and what they say together.

The catalog holds no scores of single items, so the only interval that the report can give a final
score is the one over seeds.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.training.report.queries import series
from dmix.training.report.queries.run_facts import Run

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over seeds with Student's interval of `LEVEL`.

    Attributes:
        mean: The mean.
        half: Half of the interval's width.
        runs: Number of runs.
    """

    mean: float
    half: float
    runs: int


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """At least two finished runs of one configuration.

    Attributes:
        controller: Of all of them.
        run_ids: Their ids.
        values: By name: utility, scores by objective, tokens by field; a value that a run lacks is
            left out for the group.
    """

    controller: str
    run_ids: tuple[str, ...]
    values: Mapping[str, Interval]


def seed_groups(runs: Sequence[Run]) -> list[SeedGroup]:
    """Groups of finished runs of equal configuration, in the order of their first runs."""
    members: dict[str, list[Run]] = {}
    for run in runs:
        if run.status == "done" and run.scores:
            members.setdefault(configuration(run), []).append(run)
    return [_group(group) for group in members.values() if len(group) > 1]


def interval(values: Sequence[float]) -> Interval:
    """Mean and half width over at least two values."""
    # imported here since it takes as long as reading a run
    from scipy.special import stdtrit

    deviation = float(np.std(values, ddof=1))
    half = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2)) * deviation / len(values) ** 0.5
    return Interval(mean=float(np.mean(values)), half=half, runs=len(values))


def _group(runs: Sequence[Run]) -> SeedGroup:
    rows = [_values(run) for run in runs]
    shared = [name for name in rows[0] if all(row.get(name) is not None for row in rows)]
    return SeedGroup(
        controller=runs[0].controller,
        run_ids=tuple(run.run_id for run in runs),
        values={name: interval([row[name] for row in rows]) for name in shared},
    )


def _values(run: Run) -> dict[str, Any]:
    return {
        "utility": series.final_utility(run),
        **{name: score.last for name, score in series.final_scores(run).items()},
        **{f"{field} tokens": float(count) for field, count in series.tokens_used(run).items()},
    }


def configuration(run: Run) -> str:
    """Everything that makes a run but its seeds and its name; the environment's seeds choose items."""
    return json.dumps([run.dataset, run.controller, _without_seeds(run.config)], sort_keys=True, default=str)


def _without_seeds(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: part if name == "environment" else _without_seeds(part)
            for name, part in value.items()
            if name != "run_id" and not str(name).endswith("seed")
        }
    return [_without_seeds(part) for part in value] if isinstance(value, list) else value
