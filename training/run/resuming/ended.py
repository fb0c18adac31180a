"""A run that has ended: what a resume of it finds, and what it records. Nothing is loaded or trained."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from dmix.training.run.config import RunConfig
from dmix.training.run.resuming.differences import changed_config, changed_content, content_of
from dmix.training.run.summary import RunSummary, summarise
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import EVENT, Change
from dmix.warehouse_schema.files.events import EventLog, has_ended, is_whole_log, read_events
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.sizes import num_text


def summary_if_ended(
    warehouse: Warehouse, config: RunConfig, changes: Mapping[str, Any], *, accept: bool
) -> RunSummary | None:
    """The summary of a run that has nothing left to train; nothing is written.

    None for a run that goes on: it is not finished, its model is gone, its log has to be repaired, or changed
    content was accepted, which `train` records.

    Args:
        warehouse: Where the run is.
        config: Its configuration.
        changes: Settings that the resume changes.
        accept: Go on although items or controllers are not those of the last attempt.

    Raises:
        InputError: If there are changes of settings, which come too late, or others that are not accepted.
    """
    events = warehouse.run(config.run_id) / "events.jsonl"
    if not has_ended(events, config.result(warehouse)) or not is_whole_log(events):
        return None
    changed_config(config, changes, events)
    summary = dataclasses.replace(summarise(events), run_id=config.run_id)
    if changes:
        raise InputError(
            f"run {config.run_id} has ended after {num_text(summary.steps, 'step')}, so "
            f"{', '.join(changes)} cannot change; start another --run from its model"
        )
    content = content_of(config, read_dataset_manifest(warehouse, config.dataset))
    changed = changed_content(config.run_id, content, events, accept=accept)
    return None if changed else summary


def record_changes(log: EventLog, changes: Sequence[Change], content: Mapping[str, str]) -> None:
    """Writes an attempt that only accepts changed content into the log of a run that has ended.

    Args:
        log: Of the new attempt.
        changes: What changed, and was accepted.
        content: Digests from now on.
    """
    if not changes:
        return
    last = {event["event"]: event for event in read_events(log.path)}
    started, done = last["run_started"], last["run_done"]
    for change in changes:
        log.write(EVENT, step=done["step"], detail=change.digests, **change.to_json())
    own = {"event", "run_id", "attempt", "time", "host", "pid", "process_started"}
    repeated = {name: value for name, value in started.items() if name not in own}
    log.write("run_started", **repeated | {"content": dict(content), "resumed_from_step": done["step"]})
    log.write("run_done", step=done["step"], detail=done["detail"])
