"""What `dmix train --dry-run` shows: sizes, coverage, memory of a rank, and time."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import psutil

from dmix.cli.show.output import say, show_json, show_table
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.training.run.config import RunConfig


def show_plan(warehouse: Warehouse, config: "RunConfig", *, ranks: int | None, as_json: bool) -> None:
    """Prints what a run would take; the time only where the model fits into this machine.

    Args:
        warehouse: Where the dataset is.
        config: The run.
        ranks: Ranks to plan for; those of this launch if None.
        as_json: Print one JSON document on stdout.
    """
    from composer.utils import dist

    from dmix.mixing.space.domains import DomainSpace
    from dmix.training.model.estimate import measure_speed
    from dmix.training.model.memory import computes_in_bf16, device_memory, memory_per_rank, shape_of
    from dmix.training.run.config import check_controllers, describe, expected_passes
    from dmix.training.run.launch import model_of
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    manifest, model = read_dataset_manifest(warehouse, config.dataset), model_of(config)
    check_controllers(warehouse, config, DomainSpace.of_dataset(manifest))
    ranks = dist.get_world_size() if ranks is None else ranks
    shape = shape_of(model, manifest)
    memory = memory_per_rank(
        shape,
        config.training,
        ranks=ranks,
        seq_len=manifest.seq_len,
        bf16=computes_in_bf16(config.training),
    )
    tokens = config.steps * config.step_samples * manifest.seq_len
    batches = config.steps * config.step_samples // config.batch_size
    # timing needs weights, gradients and activations on this device
    room = device_memory() or psutil.virtual_memory().available
    fits = (
        2 * memory_per_rank(shape, config.training, ranks=1, seq_len=manifest.seq_len, bf16=False).total
        < room
    )
    speed = measure_speed(model, manifest, config.training) if fits else None
    hours = None if speed is None else speed.hours(tokens)
    coverage = expected_passes(config, manifest)
    if as_json:
        show_json(
            {
                "run_id": config.run_id,
                "runs": 1,
                "steps": config.steps,
                "step_samples": config.step_samples,
                "batch_size": config.batch_size,
                "batches": batches,
                "tokens": tokens,
                "parameters": shape.parameters,
                "ranks": ranks,
                "memory_bytes": {**asdict(memory), "total": memory.total},
                "hours": hours,
                "coverage": {"source": coverage.source, "target": coverage.target},
            }
        )
        return
    say(describe(config, manifest))
    say(
        f"{shape.parameters:,} parameters, {batches:,} batches; a rank of {ranks} needs about"
        f" {memory.total / 2**30:.2g} GiB:"
    )
    show_table(["memory of a rank", "GiB"], [(name, size / 2**30) for name, size in asdict(memory).items()])
    if speed is None:
        say("the model is too large for this machine to time it; run this where it will be trained")
    else:
        say(
            f"{speed.tokens_per_second:,.0f} tokens per second in this process: about"
            f" {speed.hours(tokens):.2g} hours, scoring left out"
        )
