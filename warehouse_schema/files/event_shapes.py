"""What the fields of an event are, so that a line of JSON that dmix did not write is noticed when read.

A field that is there has the type below. What an attempt cannot resume without is looked for when a
file is repaired alone, since readers of facts do with less.
"""

from collections.abc import Callable
from typing import Any

_MOST = 2**31  # steps and attempts; what the catalog's columns hold

REQUIRED = {
    "decision": ("step", "asked_N", "planned_N", "decided_to", "remarks"),
    "step_done": ("step", "delivered_samples_N", "delivered_tokens_N", "seconds"),
    "feedback": ("step", "scores"),
    "run_started": ("run_id", "kind", "controller", "config", "space"),
    "run_done": ("detail",),
    "run_failed": ("step", "detail"),
}
"""Fields without which a run does not resume or has no summary, by event; each has its attempt, too."""


def is_event(value: object) -> bool:
    """Whether a value of JSON has the fields of an event, as far as they are there."""
    if not isinstance(value, dict) or not isinstance(value.get("event"), str):
        return False
    return all(
        check(value[name]) for name, check in _FIELDS.items() if name in value and value[name] is not None
    )


def is_complete(event: dict[str, Any]) -> bool:
    """Whether an event has what a resume needs of it."""
    needed = ("attempt", *REQUIRED.get(event["event"], ()))
    return all(event.get(name) is not None for name in needed)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _is_vector(value: object) -> bool:
    return isinstance(value, list) and all(item is None or _is_number(item) for item in value)


def _is_counts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, int) and abs(item) < 2**63 for item in value)


def _is_scores(value: object) -> bool:
    return isinstance(value, dict) and all(item is None or _is_number(item) for item in value.values())


def _is_space(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and all(map(_is_text, pair)) for pair in value
    )


def _is_controller_events(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(item, dict) and item.keys() == {"kind", "detail"} and all(map(_is_text, item.values()))
        for item in value
    )


_FIELDS: dict[str, Callable[[object], bool]] = {
    **dict.fromkeys(("step", "attempt", "decided_to", "resumed_from_step"), _is_count),
    **dict.fromkeys(("run_id", "kind", "time", "dataset", "controller", "digest", "chain", "file"), _is_text),
    **dict.fromkeys(("asked_N", "planned_N", "passes_N", "loss_sum_N"), _is_vector),
    **dict.fromkeys(
        ("planned_samples_N", "delivered_samples_N", "delivered_tokens_N", "loss_tokens_N"), _is_counts
    ),
    **dict.fromkeys(("config", "content", "reasons"), _is_object),
    **dict.fromkeys(("loss", "seconds"), _is_number),
    "scores": _is_scores,
    "space": _is_space,
    "remarks": _is_controller_events,
}
