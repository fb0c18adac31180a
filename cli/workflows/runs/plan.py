"""Time, memory and disk of a run that has not started, without building its model: `dmix train --dry-run`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.timing import ESTIMATED, estimate
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text, size_text

if TYPE_CHECKING:
    from dmix.training.model.estimate.memory import Memory, RunDisk
    from dmix.training.model.estimate.shapes import ModelShape
    from dmix.training.model.estimate.speed import Speed
    from dmix.training.model.settings import TrainingSettings
    from dmix.training.run.config import RunConfig


def run_plan(
    warehouse: Warehouse, config: "RunConfig", *, ranks: int | None = None, notes: Sequence[str] = ()
) -> Result:
    """What a run would take; the time only where the model fits into this machine.

    Args:
        warehouse: Where the dataset is.
        config: The run.
        ranks: Ranks to plan for; those of this launch if None.
        notes: What a resume would change, and where it would begin.

    Raises:
        NotFoundError, InputError, VerificationError: If the model cannot be trained on the dataset.
    """
    from dmix.mixing.space.domains import DomainSpace
    from dmix.training.model.estimate.memory import disk_of_run, memory_per_rank
    from dmix.training.model.estimate.shapes import check_weights, shape_of
    from dmix.training.model.estimate.speed import estimated_speed, trains_in_bf16
    from dmix.training.run.config import check_controllers, describe, expected_passes
    from dmix.training.run.request import ranks_here
    from dmix.training.run.resuming.differences import model_of
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest, model = read_dataset_manifest(warehouse, config.dataset), model_of(config)
    check_controllers(warehouse, config, DomainSpace.of_dataset(manifest))
    ranks = ranks_here() if ranks is None else ranks
    shape, training = shape_of(model, manifest, lora=config.training.lora), config.training
    bf16 = trains_in_bf16(training)
    if training.microbatch_size == "auto":
        training = _with_microbatch(training, shape, ranks=ranks, seq_len=manifest.seq_len, bf16=bf16)
    memory = memory_per_rank(shape, training, ranks=ranks, seq_len=manifest.seq_len, bf16=bf16)
    tokens = config.steps * config.step_samples * manifest.seq_len
    batches = config.steps * config.step_samples // config.batch_size
    disk = disk_of_run(shape, config.training, steps=config.steps, batches=batches)
    speed = None
    if _fits(shape, training, seq_len=manifest.seq_len):
        if isinstance(model, str):
            check_weights(model, shape, manifest, lora=training.lora)
        speed = estimated_speed(shape, seq_len=manifest.seq_len, bf16=bf16)
    coverage = expected_passes(config, manifest)
    result = Result(
        {
            "run_id": config.run_id,
            "runs": 1,
            "steps": config.steps,
            "step_samples": config.step_samples,
            "batch_size": config.batch_size,
            "batches": batches,
            "tokens": tokens,
            "parameters": shape.parameters,
            "microbatch_size": training.rows_at_a_time(config.batch_size // ranks),
            "ranks": ranks,
            "memory_bytes": {**dataclasses.asdict(memory), "total": memory.total},
            "disk_bytes": dataclasses.asdict(disk),
            "hours": None if speed is None else speed.hours(tokens),
            "notes": list(notes),
            "coverage": {"source": coverage.source, "target": coverage.target},
        },
        config,
    )
    result.line(describe(config, manifest))
    for note in notes:
        result.line(note)
    _add_sizes(result, memory=memory, disk=disk, speed=speed)
    full = _full_disk(warehouse, config, disk)
    if full:
        result.line(f"dmix would refuse to start this run: {full}")
    return result


def _with_microbatch(
    training: "TrainingSettings", shape: "ModelShape", *, ranks: int, seq_len: int, bf16: bool
) -> "TrainingSettings":
    """The settings with the microbatch that fits a rank in place of `auto`."""
    from dmix.training.model.estimate.memory import fitting_microbatch, room_of_a_rank

    room = room_of_a_rank(ranks)
    size = fitting_microbatch(shape, training, ranks=ranks, seq_len=seq_len, bf16=bf16, room=room)
    return dataclasses.replace(training, microbatch_size=size)


def _fits(shape: "ModelShape", training: "TrainingSettings", *, seq_len: int) -> bool:
    """Whether this machine holds the model twice, so that its weights can be read and its time counts."""
    import psutil

    from dmix.training.model.estimate.memory import gpu_memory, memory_per_rank

    gpu = gpu_memory()
    room = psutil.virtual_memory().available if gpu is None else gpu[1]
    return 2 * memory_per_rank(shape, training, ranks=1, seq_len=seq_len, bf16=False).total < room


def _full_disk(warehouse: Warehouse, config: "RunConfig", disk: "RunDisk") -> str:
    """Why the disk has no room for a run; empty if it has."""
    from dmix.training.model.estimate.memory import check_room

    folder, result = warehouse.run(config.run_id) / "checkpoints", config.result(warehouse)
    try:
        check_room(disk, checkpoints=folder, result=result, what=f"run {config.run_id}")
    except InputError as error:
        return error.message
    return ""


def _add_sizes(result: Result, *, memory: "Memory", disk: "RunDisk", speed: "Speed | None") -> None:
    """Lines and a table about what a run takes, beside the facts of the result."""
    facts = result.facts
    ranks = facts["ranks"]
    result.line(
        f"{num_text(facts['parameters'], 'parameter')}, {num_text(facts['batches'], 'batch')}, "
        f"{num_text(facts['microbatch_size'], 'sample')} per forward pass; "
        f"{'the training process' if ranks == 1 else f'each of {ranks} training processes'} needs about "
        f"{size_text(memory.total)} of memory:"
    )
    result.table(
        ["memory per process", "size"],
        [(name, size_text(size)) for name, size in dataclasses.asdict(memory).items()],
    )
    result.line(f"disk: {disk}; to change this, set checkpoints_kept and keep in the training file")
    if speed is None:
        result.line(
            "the model is too large to estimate its speed on this machine; run this command on "
            "the machine that will train it"
        )
        return
    result.line(
        f"about {speed.tokens_per_second:,.0f} tokens per second in this process on idle cores. Time without "
        f"scoring: {estimate(3600 * facts['hours'])}. {ESTIMATED}"
    )
