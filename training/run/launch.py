"""Starts a run from its resolved configuration, and resumes it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from composer.utils import dist

from dmix.mixing.controllers import Controller
from dmix.mixing.delivery.step_plan import check_settings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment
from dmix.training.model.estimate.memory import RunDisk, check_room, disk_of_run
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.config import (
    RunConfig,
    config_to_yaml,
    controller_of,
    describe,
    prepare_controllers,
    read_config,
)
from dmix.training.run.ranks import failing_together, is_first_rank, on_first_rank, prepare_ranks
from dmix.training.run.request import new_run_folder
from dmix.training.run.resuming.differences import changed_config, content_of, model_of
from dmix.training.run.resuming.ended import summary_if_ended
from dmix.training.run.run import run_lock, train
from dmix.training.run.summary import RunSummary
from dmix.training.run.watching.progress import Monitor
from dmix.training.run.watching.trust import require_trusted, trust_controllers
from dmix.warehouse_schema.files.layout import Warehouse, publish_bytes
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.settings import settings_from


def start_run(
    warehouse: Warehouse,
    config: RunConfig,
    *,
    progress: Callable[[str], None],
    monitor: Monitor | None = None,
) -> RunSummary:
    """Trains a new run. Every rank calls it; the configuration of rank 0 counts.

    Args:
        warehouse: Where the run goes.
        config: What to do.
        progress: Receives lines for people; a line per step where there is no monitor.
        monitor: Told of batches and steps.

    Raises:
        InputError: If the run exists.
        LockHeldError: If another process starts or trains it; nothing of it is changed.
    """
    prepare_ranks()
    check_settings(config.plan, world_size=dist.get_world_size())  # before it leaves a folder
    with failing_together(), ExitStack() as stack:
        config = on_first_rank(lambda: _publish_config(warehouse, config, stack, progress=progress))
        if is_first_rank():
            progress(describe(config, read_dataset_manifest(warehouse, config.dataset)))
            progress(f"disk: {disk_of(warehouse, config)}")
        job, folder = _with_content(warehouse, config), warehouse.run(config.run_id)
        return train(job, folder=folder, locked=True, progress=progress, monitor=monitor)


def _publish_config(
    warehouse: Warehouse, config: RunConfig, stack: ExitStack, *, progress: Callable[[str], None]
) -> RunConfig:
    """Takes the lock of the run, which `stack` gives back, and writes its configuration."""
    of_base_model = config.kind == "base"
    new_run_folder(warehouse, config.run_id, of_base_model=of_base_model)
    _check_room(warehouse, config)
    trust_controllers([config.controller, config.shadow])
    _prepare(warehouse, config, progress=progress)
    stack.enter_context(run_lock(warehouse.run(config.run_id), config.run_id))
    # again: another start may have held the lock
    folder = new_run_folder(warehouse, config.run_id, of_base_model=of_base_model)
    publish_bytes(folder / "config.yaml", config_to_yaml(config, warehouse).encode())
    return config


def _prepare(warehouse: Warehouse, config: RunConfig, *, progress: Callable[[str], None]) -> None:
    space = DomainSpace.of_dataset(read_dataset_manifest(warehouse, config.dataset))
    prepare_controllers(warehouse, config, space, progress=progress)


def resume_run(
    warehouse: Warehouse,
    run_id: str,
    *,
    loggers: Sequence[str] = (),
    trust_controller: bool = False,
    back: bool = False,
    accept_changes: bool = False,
    changes: Mapping[str, Any] | None = None,
    progress: Callable[[str], None],
    monitor: Monitor | None = None,
) -> RunSummary:
    """Resumes a run from its newest checkpoint; `progress` and `monitor` are as in `start_run`.

    A run that has ended changes only where it records content that is accepted.

    Args:
        warehouse: Where the run is.
        run_id: The run.
        loggers: Where metrics go from here on, in place of those that the run was started with; they
            change nothing that is trained.
        trust_controller: Run the code of a `python:` controller that this user started no run with, and
            remember it.
        back: Take the checkpoint before the newest.
        accept_changes: Go on although items or controllers are not those of the last attempt.
        changes: Other values of `steps` and of the training settings in `MAY_CHANGE`, kept from here on;
            each becomes an event.
        progress: As in `start_run`.
        monitor: As in `start_run`.

    Raises:
        NotFoundError: If there is no such run.
        InputError: If its controller is code that this user does not trust, or a run that has ended is to
            have other settings.
    """
    prepare_ranks()
    config = read_config(warehouse, run_id)
    asked = dict(changes or {})
    with failing_together(), ExitStack() as stack:
        ended = on_first_rank(
            lambda: None if back else summary_if_ended(warehouse, config, asked, accept=accept_changes)
        )
        if ended is not None:
            return ended
        if trust_controller:
            on_first_rank(lambda: trust_controllers([config.controller, config.shadow]))
        require_trusted([config.controller, config.shadow], origin=str(warehouse.run(run_id) / "config.yaml"))
        on_first_rank(lambda: _prepare(warehouse, config, progress=progress))
        config, notes = on_first_rank(lambda: _publish_changes(warehouse, config, asked, stack))
        on_first_rank(lambda: _check_room(warehouse, config))
        if loggers:
            training = dataclasses.replace(config.training, loggers=tuple(loggers))
            config = dataclasses.replace(config, training=training)
        job = _with_content(warehouse, config)
        return train(
            job,
            folder=warehouse.run(run_id),
            resume=True,
            back=back,
            accept_changes=accept_changes,
            locked=bool(notes),
            notes=notes,
            progress=progress,
            monitor=monitor,
        )


def _publish_changes(
    warehouse: Warehouse, config: RunConfig, changes: dict[str, Any], stack: ExitStack
) -> tuple[RunConfig, tuple[str, ...]]:
    """The configuration with what a resume changes, written under the lock; a sentence for each change."""
    folder = warehouse.run(config.run_id)
    if not changes or not (folder / "events.jsonl").is_file():
        return config, ()  # a run that has not started is refused by `train`
    stack.enter_context(run_lock(folder, config.run_id))
    config, notes = changed_config(config, changes, folder / "events.jsonl")
    publish_bytes(folder / "config.yaml", config_to_yaml(config, warehouse).encode())
    return config, notes


def _with_content(warehouse: Warehouse, config: RunConfig) -> TrainingJob:
    """The job with digests of what it reads elsewhere."""
    job = job_of(warehouse, config)
    return dataclasses.replace(job, content=content_of(config, job.manifest))


def job_of(warehouse: Warehouse, config: RunConfig, *, controller: Controller | None = None) -> TrainingJob:
    """What `train` needs for a configuration; with another controller than the configuration's, if given."""
    manifest = read_dataset_manifest(warehouse, config.dataset)
    space = DomainSpace.of_dataset(manifest)
    environment = None
    if config.environment is not None:
        environment = settings_from(Environment, config.environment, where="environment")
    return TrainingJob(
        run_id=config.run_id,
        kind=config.kind,
        streams=warehouse.stream(manifest.dataset),
        streams_url=warehouse.stream_url(manifest.dataset),
        manifest=manifest,
        model=model_of(config),
        controller=controller_of(warehouse, config, space) if controller is None else controller,
        plan=config.plan,
        steps=config.steps,
        training=config.training,
        environment=environment,
        result=config.result(warehouse),
        allow_other_tokenizer=config.allow_other_tokenizer,
        gradients_every=config.gradients_every,
        config=dataclasses.asdict(config),
    )


def disk_of(warehouse: Warehouse, config: RunConfig) -> RunDisk:
    """What the files of a run take on disk; the model is not loaded."""
    manifest = read_dataset_manifest(warehouse, config.dataset)
    shape = shape_of(model_of(config), manifest, lora=config.training.lora)
    batches = config.steps * config.step_samples // config.batch_size
    return disk_of_run(shape, config.training, steps=config.steps, batches=batches)


def _check_room(warehouse: Warehouse, config: RunConfig) -> None:
    """Refuses a run that its disk has no room for.

    Raises:
        InputError: If it has none.
    """
    check_room(
        disk_of(warehouse, config),
        checkpoints=warehouse.run(config.run_id) / "checkpoints",
        result=config.result(warehouse),
        what=f"run {config.run_id}",
    )
