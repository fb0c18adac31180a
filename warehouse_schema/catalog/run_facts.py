"""The facts of one run, folded from its events: what holds after resumes and replays.

A run that is resumed from the end of step k trains the steps after k again. So what earlier
attempts said about those steps is void: their results, scores and notes at once, their decisions
as soon as the new attempt has started, unless it replays them (it writes the decision again, or
ends the step). Apart from that the last line of each step and kind of event holds.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dmix.warehouse_schema.files.events import Event
from dmix.warehouse_schema.files.processes import is_alive
from dmix.warehouse_schema.sizes import num_text

Row = dict[str, Any]

# A process on another host cannot be seen; a step that takes longer than this is unheard of.
SILENCE_OF_OTHER_HOSTS = timedelta(days=1)

# Status of a run by the last event of its last attempt.
_STATUS_AT_END = {"run_done": "done", "run_failed": "failed", "run_stopped": "stopped"}
_DECISION_KEYS = {"asked": "asked_N", "planned": "planned_N", "planned_samples": "planned_samples_N"}
_RESULT_KEYS = {
    "delivered_samples": "delivered_samples_N",
    "delivered_tokens": "delivered_tokens_N",
    "passes": "passes_N",
    "loss_sums": "loss_sum_N",
    "loss_tokens": "loss_tokens_N",
    "loss": "loss",
    "seconds": "seconds",
    "digest": "digest",
    "chain": "chain",
}
_ENVELOPE = {"event", "run_id", "attempt", "time", "step", "kind", "host", "pid", "process_started"}


@dataclass
class RunFacts:
    """Rows for the tables `store.runs`, `run_steps`, `run_feedback` and `run_events`.

    Attributes:
        run: The row of the run; None if no event says that it started.
        steps: One row per step that was decided or has ended, ascending.
        feedback: One row per step and objective.
        events: Starts, ends and notes in the order of the file.
    """

    run: Row | None = None
    steps: list[Row] = field(default_factory=list)
    feedback: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)

    def tables(self) -> dict[str, list[Row]]:
        """Rows by table of the schema `store`."""
        return {
            "runs": [self.run] if self.run else [],
            "run_steps": self.steps,
            "run_feedback": self.feedback,
            "run_events": self.events,
        }


@dataclass
class RunFold:
    """What is known of a run after some of its events; the one place that knows what a resume voids.

    Attributes:
        start: The last `run_started`.
        end: The `run_done`, `run_failed` or `run_stopped` of the last attempt; None while it has none.
        first_start: The first `run_started`.
        last: The last event.
        decisions: The decision on each step.
        results: The `step_done` of each step.
        scores: The `feedback` of each step.
        unconfirmed: Steps that earlier attempts decided and the current one has not replayed so far.
        log: Line number and event of everything else.
    """

    start: Event | None = None
    end: Event | None = None
    first_start: Event | None = None
    last: Event | None = None
    decisions: dict[int, Event] = field(default_factory=dict)
    results: dict[int, Event] = field(default_factory=dict)
    scores: dict[int, Event] = field(default_factory=dict)
    unconfirmed: set[int] = field(default_factory=set)
    log: list[tuple[int, Event]] = field(default_factory=list)

    @classmethod
    def of(cls, events: Iterable[Event]) -> "RunFold":
        """The fold of all events of a run, in the order of the file."""
        fold = cls()
        for line, event in enumerate(events, start=1):
            fold.take(line, event)
        return fold

    def take(self, line: int, event: Event) -> None:
        """Takes in the next event."""
        kind, self.last = event["event"], event
        if kind == "run_started":
            self._restart(event)
        elif kind == "decision":
            self.decisions[event["step"]] = event
            self.unconfirmed.discard(event["step"])
        elif kind == "step_done":
            self.results[event["step"]] = event
            self.unconfirmed.discard(event["step"])
        elif kind == "feedback":
            self.scores[event["step"]] = event
        elif kind in _STATUS_AT_END:
            self.end = event
        if kind not in ("decision", "step_done", "feedback", "checkpoint_saved"):
            self.log.append((line, event))

    def _restart(self, event: Event) -> None:
        self.start, self.end = event, None
        self.first_start = self.first_start or event
        kept = event.get("resumed_from_step") or 0
        self.results = {step: e for step, e in self.results.items() if step <= kept}
        self.scores = {step: e for step, e in self.scores.items() if step <= kept}
        self.unconfirmed = {step for step in self.decisions if step > kept}
        self.log = [(n, e) for n, e in self.log if e["event"] != "note" or (e.get("step") or 0) <= kept]


def fold_events(run_id: str, events: Iterable[Event], *, now: datetime | None = None) -> RunFacts:
    """What the events of a run say, after resumes and replays.

    Args:
        run_id: The run, as its folder is named.
        events: Its events in the order of the file.
        now: The time against which silence is measured; the clock's by default.

    Raises:
        KeyError, TypeError, ValueError: If an event lacks what its kind must have.
    """
    fold = RunFold.of(events)
    if fold.start is None or fold.first_start is None or fold.last is None:
        return RunFacts()
    space: Sequence[tuple[str, str]] = fold.start["space"]
    _check_lengths(fold, len(space))
    steps = sorted((set(fold.decisions) | set(fold.results)) - fold.unconfirmed)
    return RunFacts(
        run={
            "run_id": run_id,
            "dataset": fold.start.get("dataset"),
            "kind": fold.start.get("kind"),
            "controller": fold.start.get("controller"),
            "status": run_status(fold.start, fold.end, fold.last, now=now or datetime.now(UTC)),
            "attempt": fold.start["attempt"],
            "started_at": utc(fold.first_start["time"]),
            "finished_at": utc(fold.end["time"]) if fold.end else None,
            "last_event_at": utc(fold.last["time"]),
            "config": _json(fold.start.get("config")),
            "fields": [name for name, _ in space],
            "domains": [domain for _, domain in space],
        },
        steps=[
            {
                "run_id": run_id,
                **_step_row(step, fold.decisions.get(step), fold.results.get(step), len(space)),
            }
            for step in steps
        ],
        feedback=[
            {"run_id": run_id, "step": step, "objective": objective, "score": score}
            for step, event in sorted(fold.scores.items())
            for objective, score in event["scores"].items()
        ],
        events=[{"run_id": run_id, **_event_row(line, event)} for line, event in fold.log],
    )


def _check_lengths(fold: RunFold, size: int) -> None:
    """Raises a ValueError that names the first vector of another length than the domain space."""
    for events in (fold.decisions, fold.results):
        for step, event in events.items():
            for key, value in event.items():
                if key.endswith("_N") and value is not None and len(value) != size:
                    raise ValueError(
                        f"in step {step}, {key} of event {event['event']} has "
                        f"{num_text(len(value), 'number')}, expected {size}, one per domain; restore "
                        "events.jsonl from a copy"
                    )


def run_status(start: Event, end: Event | None, last: Event, *, now: datetime) -> str:
    """`done`, `failed` or `stopped` as the last attempt's end says; else `running`, or `stale`.

    An attempt without an end is `stale` if the process that wrote its start (host, process id and
    start time) is gone. From another host, where that cannot be seen, it is `stale` after a day
    without an event.
    """
    if end is not None:
        return _STATUS_AT_END[end["event"]]
    alive = is_alive(start)
    if alive is None:
        alive = now - datetime.fromisoformat(last["time"]) < SILENCE_OF_OTHER_HOSTS
    return "running" if alive else "stale"


def utc(time: str | None) -> datetime | None:
    """An ISO 8601 time as a naive UTC one, as the catalog stores it; None stays None."""
    if time is None:
        return None
    moment = datetime.fromisoformat(time)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _step_row(step: int, decision: Event | None, result: Event | None, size: int) -> Row:
    row: Row = {"step": step, "attempt": (result or decision or {})["attempt"]}
    row |= {column: (decision or {}).get(key) for column, key in _DECISION_KEYS.items()}
    row |= {column: (result or {}).get(key) for column, key in _RESULT_KEYS.items()}
    reasons: list[str | None] = [None] * size
    for index, reason in ((decision or {}).get("reasons") or {}).items():
        reasons[int(index)] = str(reason)
    row |= {"reasons": reasons, "finished_at": utc(result["time"]) if result else None}
    return row


def _event_row(line: int, event: Event) -> Row:
    kind = event.get("kind", "note") if event["event"] == "note" else event["event"]
    detail = event.get("detail")
    if detail is None:
        detail = {key: value for key, value in event.items() if key not in _ENVELOPE | {"config", "space"}}
    return {
        "line": line,
        "attempt": event["attempt"],
        "step": event.get("step"),
        "kind": kind,
        "detail": detail if isinstance(detail, str) else _json(detail),
        "occurred_at": utc(event["time"]),
    }


def _json(value: Any) -> str | None:
    return None if value is None else json.dumps(finite(value), ensure_ascii=False, sort_keys=True)


def finite(value: Any) -> Any:
    """`value` with None for NaN and infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
