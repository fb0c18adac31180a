"""Base models: pre-trained on the source field alone, for farms and comparisons.

A model with random weights has nothing to forget; one that knows the source does. A base model is
a run like any other, of kind `base`: it has events and checkpoints, and a killed one goes on where
it was when the same command is given again. What it leaves in `models/<name>/` is a checkpoint in
transformers' form, with its tokenizer and its optimiser's state.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING

from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import (
    RunConfig,
    check_model_tokenizer,
    model_file_content,
    read_config,
)
from dmix.training.run.request import BASE_RUN, resolve_model, with_rate
from dmix.training.run.summary import RunSummary, summarise
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest

if TYPE_CHECKING:
    from dmix.training.run.watching.progress import Monitor

# The mixture never changes, so more steps only mean finer progress and more checkpoints.
MOST_STEPS = 20


def base_config(
    warehouse: Warehouse,
    *,
    model: str,
    tokens: int,
    name: str,
    training: TrainingSettings,
    dataset: str | None = None,
) -> RunConfig:
    """The configuration of a base model's run; nothing is written.

    Args:
        warehouse: Where the dataset is.
        model: Model file, checkpoint folder or hub id.
        tokens: How many to train on, rounded up to whole steps; the source field is passed over as
            often as that takes.
        name: Name of the model in the warehouse.
        training: Content of the training file.
        dataset: Id or name; may be left out when there is one.

    Raises:
        InputError: If `tokens` is below 1, the name is no folder name, or the source is empty.
        NotFoundError: If the model or the dataset does not exist.
    """
    if training.lora is not None:
        raise InputError(
            "lora does not work for a base model, because proxies need the optimiser state of all "
            "weights; leave lora out of the training file"
        )
    if training.keep == "model":
        raise InputError(
            "keep does not work for a base model, because proxies need its optimiser state; leave keep "
            "out of the training file"
        )
    if tokens < 1:
        raise InputError(f"--tokens is {tokens}, expected at least 1")
    manifest = read_dataset_manifest(warehouse, dataset)
    steps, step_samples = _sizes(tokens, manifest, batch_size=training.batch_size)
    space = DomainSpace.of_dataset(manifest)
    _ = space.start_N  # refuses a source field without samples
    source_samples = int(space.samples_N[~space.target_N].sum())
    resolved = resolve_model(model, warehouse)
    check_model_tokenizer(warehouse, manifest, resolved)
    warehouse.model(name)  # a name that cannot be a folder is refused here
    return RunConfig(
        run_id=f"{BASE_RUN}{name}",
        kind="base",
        dataset=manifest.dataset,
        model=resolved,
        model_file=model_file_content(resolved),
        controller="source",
        steps=steps,
        step_samples=step_samples,
        batch_size=training.batch_size,
        exhaustion="repeat",
        # one more than needed: whole batches must fit into what is left at the end
        max_passes=2 + steps * step_samples // source_samples,
        seed=manifest.seed,
        training=with_rate(training, resolved),
        name=name,
    )


def train_base(
    warehouse: Warehouse,
    config: RunConfig,
    *,
    progress: Callable[[str], None],
    monitor: "Monitor | None" = None,
) -> RunSummary:
    """Trains a base model, resumes its training, or finds it finished.

    `progress` and `monitor` are as in `start_run`.

    Raises:
        InputError: If a model of this name was made with other settings.
    """
    from dmix.training.run.launch import resume_run, start_run  # seconds of Composer
    from dmix.training.run.ranks import is_first_rank, on_first_rank, prepare_ranks

    prepare_ranks()
    stage = on_first_rank(lambda: _stage(warehouse, config))
    if stage == "new":
        return start_run(warehouse, config, progress=progress, monitor=monitor)
    if stage == "cut off":
        loggers = config.training.loggers
        return resume_run(warehouse, config.run_id, loggers=loggers, progress=progress, monitor=monitor)
    if is_first_rank():
        progress(f"model {config.name} is finished; nothing to do")
    return summarise(warehouse.run(config.run_id) / "events.jsonl")


def _stage(warehouse: Warehouse, config: RunConfig) -> str:
    """How far the model is: `new`, `cut off` or `finished`."""
    events = warehouse.run(config.run_id) / "events.jsonl"
    if not events.is_file():
        return "new"
    difference = _first_difference(read_config(warehouse, config.run_id), config)
    if difference:
        raise InputError(
            f"model {config.name!r} already exists with other settings ({difference}); choose another --name"
        )
    finished = summarise(events).finished and warehouse.model(config.name).is_dir()
    return "finished" if finished else "cut off"


def _sizes(tokens: int, manifest: DatasetManifest, *, batch_size: int) -> tuple[int, int]:
    """(M, R) that hold at least `tokens`, in at most `MOST_STEPS` steps."""
    batches = -(-tokens // (manifest.seq_len * batch_size))
    steps = min(MOST_STEPS, batches)
    return steps, -(-batches // steps) * batch_size


def _first_difference(before: RunConfig, now: RunConfig) -> str:
    """The first setting that differs, in words; empty if none does.

    Where a model file lies does not count, what it says does; nor does where metrics go.
    """
    old, new = (
        dataclasses.asdict(
            dataclasses.replace(config, training=dataclasses.replace(config.training, loggers=()))
        )
        for config in (before, now)
    )
    names = [name for name in old if name != "model" or now.model_file is None]
    return next((f"{n}: {old[n]!r} before, {new[n]!r} now" for n in names if old[n] != new[n]), "")
