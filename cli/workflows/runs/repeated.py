"""A `dmix train --run` that is given again: what it finds, and what it may change."""

import dataclasses
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.workflows.preflight import controller_spec
from dmix.training.model.settings import MAY_CHANGE, load_training
from dmix.training.run.request import lock_file, rank_here, resolve_model, with_rate
from dmix.warehouse_schema.errors import InputError, TrainingError
from dmix.warehouse_schema.files.events import has_ended, read_events_backwards, resume_command
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import refuse_while_working
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.settings import settings_from

if TYPE_CHECKING:
    from dmix.training.run.config import RunConfig
    from dmix.training.run.summary import RunSummary


def has_started(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run of that name wrote events."""
    return (warehouse.run(run_id) / "events.jsonl").is_file()


def run_summary(warehouse: Warehouse, run_id: str) -> "RunSummary":
    """The summary of a run that wrote events."""
    from dmix.training.run.summary import summarise

    summary = summarise(warehouse.run(run_id) / "events.jsonl")
    return dataclasses.replace(summary, run_id=run_id)  # its folder may have been renamed


def is_finished(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run ended and its model is there; False where its last event is damaged, which a resume
    repairs."""
    return has_ended(warehouse.run(run_id) / "events.jsonl", warehouse.run(run_id) / "model")


def refuse_a_second_start(warehouse: Warehouse, run_id: str) -> None:
    """Ends a command while another process trains the run, before it loads anything.

    Only the first rank looks: on the others, it may be that one which holds the lock.

    Raises:
        LockHeldError: If another process does.
    """
    if rank_here() == 0:
        refuse_while_working(lock_file(warehouse.run(run_id)), what=f"run {run_id}")


def refuse_a_third_failure(warehouse: Warehouse, run_id: str) -> None:
    """Ends a command that a scheduler repeats, where the run failed twice in the same way.

    A rank that was lost, for example with its node, says nothing of the next attempt.

    Raises:
        TrainingError: If its last two attempts ended at the same step with the same words.
    """
    ends = [
        event
        for event in read_events_backwards(warehouse.run(run_id) / "events.jsonl")
        if event["event"] in ("run_started", "run_failed", "run_done")
    ][:4]
    kinds = [event["event"] for event in ends]
    if kinds != ["run_failed", "run_started", "run_failed", "run_started"] or ends[0].get("rank_lost"):
        return
    if (ends[0]["step"], ends[0]["detail"]) == (ends[2]["step"], ends[2]["detail"]):
        raise TrainingError(
            f"run {run_id} failed twice at step {ends[0]['step']}: {ends[0]['detail']}. Fix the cause, "
            f"then resume with {resume_command(warehouse.run(run_id))}. To start from the second-newest "
            "checkpoint, add --back"
        )


def changed_settings(
    given: Mapping[str, Any], warehouse: Warehouse, run_id: str, *, may_change: bool
) -> dict[str, Any]:
    """The new values that a resumed run takes: steps, and training settings of `MAY_CHANGE`.

    Raises:
        InputError: If anything else differs from its configuration; it names the setting, its old and its
            new value.
    """
    from dmix.training.run.config import read_config

    before = read_config(warehouse, run_id)
    allowed = ("steps", *MAY_CHANGE) if may_change else ()
    changes: dict[str, Any] = {}
    for asked, value in given.items():
        for name, (old, new) in _compared(asked, value, before, warehouse, given).items():
            if old == new:
                continue
            if name not in allowed:
                raise _differs(warehouse, run_id, name, old, new)
            changes[name] = new
    return changes


def _differs(warehouse: Warehouse, run_id: str, name: str, old: Any, new: Any) -> InputError:
    may_change = name in ("steps", *MAY_CHANGE) and not is_finished(warehouse, run_id)
    hint = "add --resume to change the value" if may_change else "choose another --run"
    was, now = (textwrap.shorten(repr(value), 120, placeholder=" …") for value in (old, new))
    return InputError(
        f"{name.replace('_', '-')} is {now}, but run {run_id} started with {was}; give the old value, or "
        f"{hint}"
    )


def _compared(
    name: str, value: Any, before: "RunConfig", warehouse: Warehouse, given: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Old and new value of each setting that an argument decides, by name."""
    if name == "model":
        return {name: (before.model, resolve_model(str(value), warehouse))}
    if name in ("agent", "controller"):
        return {name: (before.controller, _spec(name, str(value), before, warehouse))}
    if name == "shadow":
        return {name: (before.shadow, _absolute(str(value)))}
    if name == "training":
        new = with_rate(load_training(value), before.model)
        left_out = {"loggers", "batch_size"} if "batch_size" in given else {"loggers"}
        names = [field.name for field in dataclasses.fields(new) if field.name not in left_out]
        return {key: (getattr(before.training, key), getattr(new, key)) for key in names}
    if name == "dataset":
        return {name: (before.dataset, read_dataset_manifest(warehouse, value).dataset)}
    if name == "environment":
        return _compared_environment(value, before, warehouse)
    if name == "samples_per_step":  # the same request of auto gave the size that the run has
        return {} if value == "auto" else {name: (str(before.step_samples), str(value))}
    if name == "guard":  # auto names another value than it gives
        return {} if value == "auto" else {name: (before.guard, "" if value == "off" else value)}
    return {name: (getattr(before, name), value)}


def _compared_environment(
    path: Path, before: "RunConfig", warehouse: Warehouse
) -> dict[str, tuple[Any, Any]]:
    """Settings of the environment but its folder; items are compared by content where the run goes on."""
    from dmix.mixing.trajectories.objectives import Environment, environment_to_json
    from dmix.training.run.config import environment_content

    old, new = (
        environment_to_json(settings_from(Environment, values, where="environment")) if values else {}
        for values in (before.environment, environment_content(warehouse, path, before.controller))
    )
    names = [name for name in {**old, **new} if name != "folder"]
    return {f"environment: {name}": (old.get(name), new.get(name)) for name in names}


def _spec(name: str, value: str, before: "RunConfig", warehouse: Warehouse) -> str:
    """A controller as a configuration names it; `effect` or `plan` alone takes the name that the run has."""
    if name == "agent" and before.controller == f"agent:{value}":
        return before.controller  # a run of before the shipped default named another controller
    agent, controller = (value, None) if name == "agent" else (None, value)
    spec = controller_spec(warehouse, agent, controller)
    if spec in ("effect", "plan") and before.controller.partition(":")[0] == spec:
        return before.controller
    return _absolute(spec)


def _absolute(spec: str) -> str:
    from dmix.training.run.watching.steering import absolute_spec

    return absolute_spec(spec)
