"""Time and memory of a run that has not started: `dmix train --dry-run`."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.timing import in_words
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.model.estimate import Speed
    from dmix.training.model.memory import Memory, RunDisk
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
    """
    import psutil
    from composer.utils import dist

    from dmix.mixing.space.domains import DomainSpace
    from dmix.training.model.estimate import measure_speed
    from dmix.training.model.memory import (
        device_memory,
        disk_of_run,
        fitting_microbatch,
        memory_per_rank,
        room_of_a_rank,
        shape_of,
    )
    from dmix.training.model.precision import computes_in_bf16
    from dmix.training.run.config import check_controllers, describe, expected_passes
    from dmix.training.run.resuming.differences import model_of
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest, model = read_dataset_manifest(warehouse, config.dataset), model_of(config)
    check_controllers(warehouse, config, DomainSpace.of_dataset(manifest))
    ranks = dist.get_world_size() if ranks is None else ranks
    shape = shape_of(model, manifest, lora=config.training.lora)
    training, bf16 = config.training, computes_in_bf16(config.training)
    if training.microbatch_size == "auto":
        size = fitting_microbatch(
            shape, training, ranks=ranks, seq_len=manifest.seq_len, bf16=bf16, room=room_of_a_rank(ranks)
        )
        training = dataclasses.replace(training, microbatch_size=size)
    memory = memory_per_rank(shape, training, ranks=ranks, seq_len=manifest.seq_len, bf16=bf16)
    tokens = config.steps * config.step_samples * manifest.seq_len
    batches = config.steps * config.step_samples // config.batch_size
    disk = disk_of_run(shape, config.training, steps=config.steps, batches=batches)
    # timing needs weights, gradients and activations on this device
    room = device_memory() or psutil.virtual_memory().available
    fits = 2 * memory_per_rank(shape, training, ranks=1, seq_len=manifest.seq_len, bf16=False).total < room
    speed = measure_speed(model, manifest, training) if fits else None
    hours = None if speed is None else speed.hours(tokens)
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
            "hours": hours,
            "notes": list(notes),
            "coverage": {"source": coverage.source, "target": coverage.target},
        },
        config,
    )
    result.line(describe(config, manifest))
    for note in notes:
        result.line(note)
    _add_sizes(result, memory=memory, disk=disk, speed=speed)
    return result


def _add_sizes(result: Result, *, memory: "Memory", disk: "RunDisk", speed: "Speed | None") -> None:
    """Lines and a table about what a run takes, beside the facts of the result."""
    facts = result.facts
    result.line(
        f"{facts['parameters']:,} parameters, {facts['batches']:,} batches,"
        f" {facts['microbatch_size']} samples per forward pass; each rank (of {facts['ranks']}) needs about"
        f" {memory.total / 2**30:.2g} GiB:"
    )
    result.table(
        ["memory per rank", "GiB"],
        [(name, size / 2**30) for name, size in dataclasses.asdict(memory).items()],
    )
    result.line(f"disk: {disk}; checkpoints_kept and keep of the training file change it")
    if speed is None:
        result.line(
            "the model is too large to time it on this machine; run this command where the model will train"
        )
        return
    result.line(
        f"{speed.tokens_per_second:,.0f} tokens per second in this process:"
        f" {in_words(3600 * facts['hours'])} without scoring"
    )
