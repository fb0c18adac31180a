"""What a resume takes over, what it may change, and where it begins; nothing is trained or written here."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dmix.mixing.controllers.custom import code_digest
from dmix.mixing.trajectories.objectives import Environment, items_digests
from dmix.training.model.digests import model_digest
from dmix.training.model.settings import ModelSettings
from dmix.training.run.config import RunConfig, read_config
from dmix.training.run.resuming.checkpoint_files import found_checkpoint
from dmix.training.run.summary import summarise
from dmix.training.run.watching.trust import require_trusted
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.changes import SAMPLES, Change, changes_between, require_accepted
from dmix.warehouse_schema.files.events import read_events_backwards
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest, samples_digest
from dmix.warehouse_schema.settings import settings_from
from dmix.warehouse_schema.sizes import num_text

# How the content of a run calls the weights, or the model file, that it starts from.
STARTING_MODEL = "the model that it starts from"
_ITEMS = "the items of objective "


def plan_resume(
    warehouse: Warehouse,
    run_id: str,
    *,
    trust_controller: bool = False,
    back: bool = False,
    accept_changes: bool = False,
    changes: Mapping[str, Any],
) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration that a resume would have, and a sentence for each thing that differs.

    Arguments and errors are those of `resume_run`.
    """
    config, folder = read_config(warehouse, run_id), warehouse.run(run_id)
    events = folder / "events.jsonl"
    if not events.is_file():
        raise NotFoundError(f"run {run_id} has not started yet; leave out --resume")
    if not trust_controller:
        require_trusted([config.controller, config.shadow], origin=str(folder / "config.yaml"))
    config, notes = changed_config(config, changes, events)
    content = content_of(config, read_dataset_manifest(warehouse, config.dataset))
    accepted = changed_content(run_id, content, events, accept=accept_changes)
    restart = found_checkpoint(folder / "checkpoints", events, back=back)
    where = "the beginning" if restart.checkpoint is None else restart.checkpoint.name
    return config, (
        *notes,
        *(change.digests for change in accepted),
        *restart.notes,
        *(() if restart.notes else (f"resuming from {where}",)),
    )


def changed_config(
    config: RunConfig, changes: Mapping[str, Any], events: Path
) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with what a resume changes, and a sentence for each change.

    Args:
        config: Of the last attempt.
        changes: Other values of `steps` and of the training settings in `MAY_CHANGE`.
        events: `events.jsonl` of the run.

    Raises:
        InputError: If the run has done as many steps already.
    """
    if not changes:
        return config, ()
    done = summarise(events)
    steps = changes.get("steps", config.steps)
    if "steps" in changes and (done.finished or steps <= done.steps):
        raise InputError(
            f"--steps is {steps}, but run {config.run_id} started with {num_text(config.steps, 'step')} "
            "and has "
            f"{'ended after' if done.finished else 'done'} {done.steps}. Raise --steps while a run is "
            "unfinished, or start another --run from its model"
        )
    before = {"steps": config.steps, **dataclasses.asdict(config.training)}
    of_training = {name: value for name, value in changes.items() if name != "steps"}
    training = dataclasses.replace(config.training, **of_training)
    notes = [f"{name} changed from {before[name]} to {changes[name]}" for name in changes]
    if done.steps and {"steps", "learning_rate"} & set(changes):
        notes.append(
            f"the first {num_text(done.steps, 'step')} had other learning rates than a run with the new "
            "values has; do not compare it with such a run"
        )
    return dataclasses.replace(config, steps=steps, training=training), tuple(notes)


def content_of(config: RunConfig, manifest: DatasetManifest) -> dict[str, str]:
    """Digests of what a run reads elsewhere, by a name for people."""
    found = {STARTING_MODEL: model_digest(model_of(config)), SAMPLES: samples_digest(manifest)}
    found |= _content_of_items(config)
    for spec in (config.controller, config.shadow):
        digest = code_digest(spec)
        if digest is not None:
            found[f"the code of controller {spec}"] = digest
    return found


def _content_of_items(config: RunConfig) -> dict[str, str]:
    if config.environment is None:
        return {}
    environment = settings_from(Environment, config.environment, where="environment")
    return {f"{_ITEMS}{name}": digest for name, digest in items_digests(environment).items()}


def has_its_items(config: RunConfig, events: Path) -> bool:
    """Whether the items of a run's environment are those of its last attempt."""
    return not changes_between(recorded_content(events), _content_of_items(config))


def changed_content(
    run_id: str, content: Mapping[str, str], events: Path, *, accept: bool
) -> tuple[Change, ...]:
    """What differs in content from the last attempt of a run; decisions and scores of before and after a
    change cannot be compared.

    Raises:
        InputError: If something does, and `accept` is False; or if the objectives are others.
    """
    recorded = recorded_content(events)
    before, now = (
        [name.removeprefix(_ITEMS) for name in of if name.startswith(_ITEMS)] for of in (recorded, content)
    )
    if before and before != now:  # earlier versions kept none
        raise InputError(
            f"run {run_id} was scored on the objectives {', '.join(before) or 'none'}, but its configuration "
            f"has {', '.join(now) or 'none'}; restore {events.with_name('config.yaml')}"
        )
    changes = changes_between(recorded, content)
    require_accepted(changes, of=f"run {run_id}", accepted=accept)
    return changes


def recorded_content(events: Path) -> dict[str, str]:
    """Digests that the last attempt of a run began with; none before 0.2 or before the first."""
    started = (event for event in read_events_backwards(events) if event["event"] == "run_started")
    found: dict[str, str] = next((event.get("content", {}) for event in started), {})
    return found


def model_of(config: RunConfig) -> str | ModelSettings:
    """The model of a run: the content of its model file, or what names a checkpoint."""
    if config.model_file is None:
        return config.model
    return settings_from(ModelSettings, config.model_file, where=config.model)
