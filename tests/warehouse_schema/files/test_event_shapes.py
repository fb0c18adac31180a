"""A line of JSON is an event of dmix only if each field that it has is of its type."""

import pytest

from dmix.warehouse_schema.files.event_shapes import REQUIRED, is_complete, is_event

WHOLE = {
    "decision": {"step": 1, "asked_N": [1.0], "planned_N": [1.0], "decided_to": 1, "remarks": []},
    "step_done": {"step": 1, "delivered_samples_N": [4], "delivered_tokens_N": [64], "seconds": 0.5},
    "feedback": {"step": 1, "scores": {"math": -2.0}},
    "run_started": {
        "run_id": "r",
        "kind": "baseline",
        "controller": "natural",
        "config": {},
        "space": [["source", "News"]],
    },
    "run_done": {"detail": "all steps are done"},
    "run_failed": {"step": 1, "detail": "weights are not finite"},
}


@pytest.mark.parametrize("kind", REQUIRED)
def test_a_resume_needs_each_required_field_and_the_attempt(kind):
    event = {"event": kind, "attempt": 1, **WHOLE[kind]}
    assert is_event(event) and is_complete(event)
    for name in ("attempt", *REQUIRED[kind]):
        assert not is_complete({**event, name: None})
        assert not is_complete({other: value for other, value in event.items() if other != name})


def test_an_event_of_another_kind_needs_its_attempt_alone():
    assert is_complete({"event": "note", "attempt": 2})
    assert not is_complete({"event": "note"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", -1),
        ("step", True),
        ("step", 1.0),
        ("attempt", 2**31),
        ("run_id", 7),
        ("asked_N", [0.5, "0.5"]),
        ("asked_N", {"a": 1}),
        ("loss_sum_N", [True]),
        ("planned_samples_N", [1.5]),
        ("delivered_tokens_N", [2**63]),
        ("config", []),
        ("loss", "3"),
        ("scores", {"math": "high"}),
        ("scores", [1.0]),
        ("space", [["source"]]),
        ("space", [["source", 3]]),
        ("remarks", [{"kind": "alarm"}]),
        ("remarks", [{"kind": "alarm", "detail": 3}]),
    ],
)
def test_a_field_of_another_type_makes_no_event(name, value):
    assert not is_event({"event": "note", name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("asked_N", [0.5, None, 1]),
        ("scores", {"math": None}),
        ("remarks", [{"kind": "alarm", "detail": "late"}]),
        ("loss", 3),
        ("step", None),
        ("a field of later versions", object()),
    ],
)
def test_unknown_values_and_fields_are_fine(name, value):
    assert is_event({"event": "note", name: value})


@pytest.mark.parametrize("value", [None, [], "text", {}, {"event": 1}])
def test_what_names_no_event_is_none(value):
    assert not is_event(value)
