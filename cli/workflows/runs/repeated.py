"""A `dmix train --run` that is given again: what it finds, and what it may change."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dmix.training.model.settings import MAY_CHANGE, load_training
from dmix.training.run.request import resolve_model, with_rate
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.events import read_events_backwards, resume_command
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.run.summary import RunSummary


def has_started(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run of that name wrote events."""
    return (warehouse.run(run_id) / "events.jsonl").is_file()


def run_summary(warehouse: Warehouse, run_id: str) -> "RunSummary":
    """The summary of a run that wrote events."""
    from dmix.training.run.summary import summarise

    return summarise(warehouse.run(run_id) / "events.jsonl")


def is_finished(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run ended and its model is there."""
    last = next(read_events_backwards(warehouse.run(run_id) / "events.jsonl"), {"event": ""})
    return last["event"] == "run_done" and (warehouse.run(run_id) / "model").is_dir()


def refuse_a_third_failure(warehouse: Warehouse, run_id: str) -> None:
    """Ends a command that a scheduler repeats, where the run failed twice in the same way.

    Raises:
        TrainingError: If its last two attempts ended at the same step with the same words.
    """
    ends = [
        event
        for event in read_events_backwards(warehouse.run(run_id) / "events.jsonl")
        if event["event"] in ("run_started", "run_failed", "run_done")
    ][:4]
    kinds = [event["event"] for event in ends]
    if kinds != ["run_failed", "run_started", "run_failed", "run_started"]:
        return
    if (ends[0]["step"], ends[0]["detail"]) == (ends[2]["step"], ends[2]["detail"]):
        raise TrainingError(
            f"run {run_id} failed twice at step {ends[0]['step']}: {ends[0]['detail']}. Mend the cause, then"
            f" try once more with {resume_command(warehouse.run(run_id))}; with --back, it goes back a"
            " checkpoint"
        )


def changed_settings(
    given: Mapping[str, Any], warehouse: Warehouse, run_id: str, *, may_change: bool
) -> dict[str, Any]:
    """What a run that goes on takes anew: steps, and training settings of `MAY_CHANGE`.

    Raises:
        InputError: If one does; it names the setting, its old and its new value.
    """
    from dmix.training.run.config import read_config
    from dmix.training.run.watching.steering import absolute_spec

    before = read_config(warehouse, run_id)
    changes: dict[str, Any] = {}
    known = {
        "model": before.model,
        "agent": before.controller,
        "controller": before.controller,
        "training": dataclasses.replace(before.training, batch_size=1, loggers=()),
        "environment": None,
        "samples_per_step": str(before.step_samples),
        "dataset": None,
    }
    for name, value in given.items():
        old, new = known.get(name, getattr(before, name, None)), value
        if name == "model":
            new = resolve_model(str(value), warehouse)
        elif name == "agent":
            new = absolute_spec(f"agent:{value}")
        elif name in ("controller", "shadow"):
            new = absolute_spec(str(value))
        elif name == "training":
            given_training = with_rate(load_training(value), before.model)
            new = dataclasses.replace(given_training, batch_size=1, loggers=())
            names = [field.name for field in dataclasses.fields(new)]
            differing = [key for key in names if getattr(old, key) != getattr(new, key)]
            if may_change:
                changes |= {key: getattr(new, key) for key in differing if key in MAY_CHANGE}
                differing = [key for key in differing if key not in MAY_CHANGE]
            if not differing:
                continue
            name = differing[0]
            old, new = getattr(old, name), getattr(new, name)
        elif name == "samples_per_step" and value == "auto":
            continue  # the same request gave the size that the run has
        elif name in ("environment", "dataset", "guard"):
            continue  # content is compared where the run goes on; auto names another value than it gives
        if old == new:
            continue
        if name == "steps" and may_change:
            changes[name] = new
            continue
        hint = "give --resume to change it" if name in ("steps", *MAY_CHANGE) else "choose another --run"
        raise InputError(
            f"run {run_id} was started with {name.replace('_', '-')} {old!r}, now it is {new!r};"
            f" leave it as it was, or {hint}"
        )
    return changes
