"""What the catalog says about runs, as plain records and arrays.

Shapes: T steps of a run, N (field, domain) pairs that it has. A number that is not known yet,
such as the samples delivered by a step under way, is NaN.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.training.report.queries.reader import Pair, Reader, domain_order, floats, position, records
from dmix.warehouse_schema.errors import NotFoundError

_ARRAYS = ("asked_TN", "planned_TN", "samples_TN", "tokens_TN", "passes_TN", "loss_TN", "loss_tokens_TN")


@dataclass(frozen=True, kw_only=True)
class RunEvent:
    """A note or a mark of a run; the columns of the view `run_events`."""

    step: int | None
    kind: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Where the plan is not what the controller asked for, over the steps with one reason."""

    field: str
    domain: str
    reason: str
    steps: int
    first_step: int
    last_step: int


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A benchmark score of a checkpoint; the columns of the view `evaluations`."""

    step: int
    task: str
    metric: str
    value: float
    stderr: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run as far as it went.

    Attributes:
        run_id: Its id; the columns of the view `runs` follow.
        steps_done: Number of steps that have ended.
        pairs: The N (field, domain) pairs, source first, in taxonomy order.
        steps_T: Numbers of the steps with a decision, ascending.
        asked_TN: Weights that the controller asked for.
        planned_TN: Weights after masks, floors and exhaustion.
        samples_TN: Samples that the training loop consumed.
        tokens_TN: Tokens that the training loop consumed.
        passes_TN: Passes over each domain's samples so far.
        loss_TN: Mean training loss in nats per token; NaN where a step drew nothing.
        loss_tokens_TN: Tokens that the losses are means over.
        scores: (step, score) pairs of each objective, ascending; step 0 is before any training.
        events: Marks and notes, in order.
        departures: Why planned differs from asked.
        evaluations: Benchmark scores of its checkpoints, by task, metric and step.
    """

    run_id: str
    dataset: str
    kind: str
    controller: str
    status: str
    started_at: str
    finished_at: str
    config: Mapping[str, Any]
    steps_done: int
    pairs: tuple[Pair, ...]
    steps_T: NDArray[np.int64]
    asked_TN: Vector
    planned_TN: Vector
    samples_TN: Vector
    tokens_TN: Vector
    passes_TN: Vector
    loss_TN: Vector
    loss_tokens_TN: Vector
    scores: Mapping[str, tuple[tuple[int, float], ...]]
    events: tuple[RunEvent, ...]
    departures: tuple[Departure, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def leads(self) -> bool:
        """Whether an agent or a plan chose its mixtures; other runs are there for comparison."""
        return self.kind == "guided" or self.controller.partition(":")[0] == "plan"


def run_ids(catalog: Reader) -> dict[str, str]:
    """Kind of every run in the catalog by id, newest first."""
    _, rows = catalog.query("SELECT run_id, kind FROM runs ORDER BY started_at DESC NULLS LAST, run_id")
    return {run_id: kind or "" for run_id, kind in rows}


def choose_runs(known: Mapping[str, str], *, wanted: Sequence[str], limit: int) -> list[str]:
    """The runs to report, oldest first unless they were named.

    Args:
        known: Kind of every run by id, newest first.
        wanted: Ids that the user gave; all of them are taken, in this order.
        limit: Most runs to take when none was given; proxies of a farm are left out then, and base
            models where there are other runs.

    Raises:
        NotFoundError: If a wanted run is not known.
    """
    missing = [run_id for run_id in wanted if run_id not in known]
    if missing:
        there = ", ".join(list(known)[:20]) or "none yet; start one with 'dmix train'"
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""
        raise NotFoundError(f"run {missing[0]!r} is not in the warehouse (available: {there}{more})")
    if wanted:
        return list(dict.fromkeys(wanted))
    compared = [run_id for run_id, kind in known.items() if kind not in ("proxy", "base")]
    bases = [run_id for run_id, kind in known.items() if kind == "base"]
    return (compared or bases)[:limit][::-1]


def read_run(catalog: Reader, run_id: str) -> Run:
    """Everything that the report shows of a run."""
    (outcome,) = read_outcomes(catalog, [run_id])
    return replace(
        outcome,
        **_mixture(catalog, run_id, domain_order(catalog, outcome.dataset)),
        events=_events(catalog, run_id),
        departures=_departures(catalog, run_id),
        evaluations=_evaluations(catalog, run_id),
    )


def read_outcomes(catalog: Reader, run_ids: Sequence[str]) -> list[Run]:
    """Runs with what it takes to compare their ends: facts, configuration, scores.

    Their mixtures, events, departures and evaluations are empty.

    Args:
        catalog: Where the runs are.
        run_ids: Runs that the catalog has.
    """
    rows = records(
        catalog,
        "SELECT run_id, dataset, kind, controller, status,"
        " strftime(started_at, '%Y-%m-%d %H:%M') AS started_at,"
        " strftime(finished_at, '%Y-%m-%d %H:%M') AS finished_at, config::VARCHAR AS config"
        " FROM runs WHERE run_id IN (SELECT unnest(?))",
        [list(run_ids)],
    )
    facts = {row["run_id"]: row for row in rows}
    steps, scores = _steps_done(catalog, run_ids), _scores(catalog, run_ids)
    return [
        _outcome(facts[run_id], steps_done=steps.get(run_id, 0), scores=scores.get(run_id, {}))
        for run_id in run_ids
    ]


def _outcome(
    facts: dict[str, Any], *, steps_done: int, scores: Mapping[str, tuple[tuple[int, float], ...]]
) -> Run:
    config = json.loads(facts.pop("config") or "{}")
    written: dict[str, Any] = {name: value or "" for name, value in facts.items()}
    nothing: dict[str, Any] = dict.fromkeys(_ARRAYS, np.zeros((0, 0)))
    return Run(
        **written,
        **nothing,
        config=config if isinstance(config, dict) else {},
        steps_done=steps_done,
        pairs=(),
        steps_T=np.zeros(0, dtype=np.int64),
        scores=scores,
        events=(),
        departures=(),
        evaluations=(),
    )


def _steps_done(catalog: Reader, run_ids: Sequence[str]) -> dict[str, int]:
    _, rows = catalog.query(
        "SELECT run_id, count(DISTINCT step) FROM mixture"
        " WHERE delivered_samples IS NOT NULL AND run_id IN (SELECT unnest(?)) GROUP BY run_id",
        [list(run_ids)],
    )
    return {run_id: int(steps) for run_id, steps in rows}


def _mixture(catalog: Reader, run_id: str, order: Mapping[str, int]) -> dict[str, Any]:
    """The arrays of `Run`, of the rows that the views have."""
    _, rows = catalog.query(
        "SELECT step, field, domain,"
        " asked_weight, planned_weight, delivered_samples, delivered_tokens, passes"
        " FROM mixture WHERE run_id = ? ORDER BY step",
        [run_id],
    )
    pairs = sorted({(field, domain) for _, field, domain, *_ in rows}, key=lambda pair: position(pair, order))
    column = {pair: index for index, pair in enumerate(pairs)}
    steps = sorted({row[0] for row in rows})
    line = {step: index for index, step in enumerate(steps)}
    values = np.full((len(_ARRAYS), len(steps), len(pairs)), np.nan)
    for step, field, domain, *numbers in rows:
        values[:5, line[step], column[field, domain]] = floats(numbers)
    _, losses = catalog.query(
        "SELECT step, field, domain, loss, tokens FROM domain_loss WHERE run_id = ?", [run_id]
    )
    for step, field, domain, *numbers in losses:
        values[5:, line[step], column[field, domain]] = floats(numbers)
    return {
        "pairs": tuple(pairs),
        "steps_T": np.asarray(steps, dtype=np.int64),
        **dict(zip(_ARRAYS, values, strict=True)),
    }


def _scores(catalog: Reader, run_ids: Sequence[str]) -> dict[str, dict[str, tuple[tuple[int, float], ...]]]:
    """Scores by run and objective."""
    _, rows = catalog.query(
        "SELECT run_id, objective, step, score FROM run_feedback WHERE run_id IN (SELECT unnest(?))"
        " ORDER BY objective, step",
        [list(run_ids)],
    )
    scores: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for run_id, objective, step, score in rows:
        points = scores.setdefault(run_id, {}).setdefault(objective, [])
        points.append((int(step), floats([score])[0]))
    return {
        run_id: {objective: tuple(points) for objective, points in of_run.items()}
        for run_id, of_run in scores.items()
    }


def _events(catalog: Reader, run_id: str) -> tuple[RunEvent, ...]:
    _, rows = catalog.query(
        "SELECT step, kind, detail FROM run_events WHERE run_id = ? ORDER BY line", [run_id]
    )
    return tuple(RunEvent(step=step, kind=kind or "", detail=detail or "") for step, kind, detail in rows)


def _departures(catalog: Reader, run_id: str) -> tuple[Departure, ...]:
    _, rows = catalog.query(
        "SELECT field, domain, reason, count(*), min(step), max(step) FROM mixture"
        " WHERE run_id = ? AND reason IS NOT NULL AND reason <> ''"
        " GROUP BY field, domain, reason ORDER BY min(step), field, domain",
        [run_id],
    )
    return tuple(
        Departure(field=field, domain=domain, reason=reason, steps=count, first_step=first, last_step=last)
        for field, domain, reason, count, first, last in rows
    )


def _evaluations(catalog: Reader, run_id: str) -> tuple[Evaluation, ...]:
    rows = records(
        catalog,
        "SELECT step, task, metric, value, stderr FROM evaluations"
        " WHERE run_id = ? AND value IS NOT NULL ORDER BY task, metric, step",
        [run_id],
    )
    return tuple(Evaluation(**row) for row in rows)
