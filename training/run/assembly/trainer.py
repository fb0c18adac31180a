"""Composer's trainer of a run: optimiser, loader, callback, scorer, microbatch."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import composer.core.engine as composer_engine
import torch
from composer import Trainer
from composer.algorithms import GradientClipping
from composer.core import State
from composer.optim import DecoupledAdamW
from composer.utils import dist
from composer.utils.parallelism import FSDP2Config
from composer.utils.reproducibility import load_rng_state
from torch.utils.data import DataLoader

from dmix.mixing.delivery.dataset import MixedDataset, StepBatchSampler, build_dataloader
from dmix.mixing.delivery.step_plan import MixerState
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment
from dmix.training.model.estimate.memory import fitting_microbatch, room_of_a_rank
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.precision import computes_in_bf16, on_gpu
from dmix.training.model.settings import TrainingSettings, learning_rate_factor, rate_shares
from dmix.training.run.assembly.gradients import run_gradients
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.callback import MixtureCallback
from dmix.training.run.checkpoints import check_moments, due, make_saver
from dmix.training.run.decisions import recorded_decisions
from dmix.training.run.ranks import (
    RANK_TIMEOUT_SECONDS,
)
from dmix.training.run.resuming.checkpoint_files import is_whole, recorded_chain, steps_done_at
from dmix.training.run.state import RunState
from dmix.training.run.watching.loggers import make_loggers
from dmix.training.run.watching.progress import Monitor
from dmix.training.run.watching.rate import RateMeter
from dmix.training.run.watching.signals import StopRequest
from dmix.training.run.watching.step_events import is_microbatch_note
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.files.events import EventLog, read_events_backwards
from dmix.warehouse_schema.files.weights import readable


def make_optimizer(
    model: LanguageModel, settings: TrainingSettings, state_file: Path | None
) -> DecoupledAdamW:
    """AdamW over all weights that are trained, with moments from `state_file` if one is given.

    Learning rate and decay always come from the settings, not from the file.
    """
    optimizer = DecoupledAdamW(
        [weight for weight in model.parameters() if weight.requires_grad],
        lr=settings.peak_rate,
        betas=(settings.betas[0], settings.betas[1]),
        eps=settings.epsilon,
        weight_decay=settings.weight_decay,
    )
    if state_file is not None:
        with readable(state_file, what="the state of an optimiser", fix="train the model again"):
            if state_file.is_file() and not is_whole(state_file):
                raise ValueError("a part of it has another checksum than was written")
            saved = torch.load(state_file, map_location="cpu", weights_only=True)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
            check_moments(optimizer)
    return optimizer


def take_rate(trainer: Trainer, rate: float) -> None:
    """Gives optimiser and schedule this peak rate; a checkpoint restores the one that it was written with."""
    for optimizer in trainer.state.optimizers:
        for group in optimizer.param_groups:
            if group.get("initial_lr", rate) != rate:
                group["lr"] *= rate / group["initial_lr"]
                group["initial_lr"] = rate
    for scheduler in trainer.state.schedulers:
        scheduler.base_lrs = [rate for _ in scheduler.base_lrs]


def restore_random_state(trainer: Trainer) -> None:
    """Restores the random generators from a checkpoint within a step, so that dropout resumes.

    Composer does so itself at the start of an epoch, and within one only after it has taken the
    finished batches out of the loader again, which our sampler makes needless. A rank that the
    checkpoint knows nothing of keeps the state that its seed gives.
    """
    saved = trainer._rng_state
    if saved is not None and trainer.state.timestamp.batch_in_epoch.value:
        load_rng_state(saved)


def make_loader(dataset: MixedDataset, sampler: StepBatchSampler, settings: TrainingSettings) -> DataLoader:
    """The loader of a run; pinned memory and two workers on a GPU unless settings say otherwise."""
    workers = settings.loader_workers
    return build_dataloader(
        dataset,
        sampler,
        num_workers=(2 if on_gpu() else 0) if workers is None else workers,
        pin_memory=on_gpu(),
    )


def make_callback(
    job: TrainingJob,
    model: LanguageModel,
    sampler: StepBatchSampler,
    dataset: MixedDataset,
    *,
    folder: Path,
    checkpoint: Path | None,
    log: EventLog | None,
    stop: StopRequest,
    monitor: Monitor,
) -> MixtureCallback:
    """The callback that delivers mixtures, scores and writes events, from the start or after a checkpoint."""
    space = DomainSpace.of_dataset(job.manifest)
    return MixtureCallback(
        space=space,
        streams=StreamSizes.of_manifest(job.manifest),
        settings=job.plan,
        steps=job.steps,
        rate_shares=rate_shares(job.steps, total=job.planned_batches, settings=job.training),
        seq_len=job.manifest.seq_len,
        controller=job.controller,
        sampler=sampler,
        model=model,
        scorer=None if job.environment is None else make_scorer(job, job.environment, model),
        environment=job.environment,
        state=RunState.at_start(MixerState.start(len(space)), space.start_N),
        log=log,
        recorded=recorded_decisions(
            folder / "events.jsonl", after=steps_done_at(checkpoint), domains=len(space)
        ),
        stop=stop,
        monitor=monitor,
        learning_rate=job.training.peak_rate,
        finds_microbatch=job.training.microbatch_size == "auto",
        gradients=run_gradients(job, model, dataset),
        chain=recorded_chain(folder / "events.jsonl", step=steps_done_at(checkpoint)),
    )


def make_scorer(job: TrainingJob, environment: Environment, model: LanguageModel) -> Scorer:
    """Scores models of this shape on an environment, with the tokenizer of the job's dataset."""
    return Scorer(
        environment,
        tokenizer=load_tokenizer_file(job.streams / "tokenizer.json", job.manifest.tokenizer),
        tokenizer_file=job.manifest.tokenizer,
        max_length=model.max_length,
    )


@contextmanager
def not_kept_until_exit() -> Iterator[None]:
    """Lets a trainer go after its run, with its model, its loader and the loader's workers.

    Composer (0.32) hands every trainer to atexit, so that one that nobody closes is closed then; it
    stays there after it was closed. We close ours, and a farm trains many in one process.
    """
    original = composer_engine.atexit
    composer_engine.atexit = SimpleNamespace(register=lambda *_: None, unregister=original.unregister)
    try:
        yield
    finally:
        composer_engine.atexit = original


def make_trainer(
    job: TrainingJob,
    model: LanguageModel,
    loader: DataLoader,
    callback: MixtureCallback,
    *,
    precision: str,
    folder: Path,
    checkpoint: Path | None,
    microbatch: int,
) -> Trainer:
    """Composer's trainer, at the checkpoint if there is one."""
    settings = job.training

    def rate(state: State, ssr: float = 1.0) -> float:
        return learning_rate_factor(state.timestamp.batch.value, total=job.planned_batches, settings=settings)

    callbacks: list[Any] = [callback]
    if job.keep_checkpoints:
        save_now = due(
            settings, stopping=lambda: callback.stopping, last_batch=lambda: callback.batches_in_step
        )
        saver = make_saver(
            folder / "checkpoints",
            settings,
            resumed_from=checkpoint,
            save_now=save_now,
            saved=callback.note_checkpoint,
        )
        callbacks.append(saver)
    clip = settings.gradient_clip
    trainer = Trainer(
        model=model,
        train_dataloader=loader,
        # the sampler starts where the checkpoint lies; there is nothing to skip
        spin_dataloaders=False,
        max_duration=f"{job.steps}ep",
        optimizers=make_optimizer(model, settings, job.optimizer),
        schedulers=rate,
        step_schedulers_every_batch=True,
        algorithms=[] if clip is None else [GradientClipping(clipping_type="norm", clipping_threshold=clip)],
        callbacks=callbacks,
        loggers=make_loggers(settings.loggers, folder=folder, run_id=job.run_id),
        parallelism_config=parallelism(settings),
        run_name=job.run_id,
        progress_bar=False,
        load_path=None if checkpoint is None else str(checkpoint),
        load_progress_bar=False,
        device_train_microbatch_size=microbatch,
        precision=precision,
        seed=settings.seed,
        deterministic_mode=settings.deterministic,
        dist_timeout=RANK_TIMEOUT_SECONDS,
    )
    # Composer's own "auto" does the same, begins anew after a resume, and warns of itself
    trainer.state.auto_microbatching = halves_when_memory_runs_out(settings)
    if dist.get_world_size() == 1 and settings.lora is None:  # adapters cost fewer operations
        # it has no state, so Composer need not look for one in checkpoints, which warns where there is none
        trainer.state.callbacks.append(_rate_meter(job))
    return trainer


def _rate_meter(job: TrainingJob) -> RateMeter:
    """What keeps the speed of the run."""
    shape = shape_of(job.model, job.manifest)
    return RateMeter(
        operations_per_token=shape.operations_per_token(job.manifest.seq_len),
        tokens=job.plan.batch_size * job.manifest.seq_len,
        bf16=computes_in_bf16(job.training),
        on_gpu=on_gpu(),
    )


def halves_when_memory_runs_out(settings: TrainingSettings) -> bool:
    """Whether Composer halves the microbatch when a GPU's memory runs out; it cannot with sharded weights."""
    return settings.microbatch_size == "auto" and settings.sharding == "none" and on_gpu()


def first_microbatch(job: TrainingJob, events: Path) -> int:
    """Samples of the first forward passes of an attempt: those of the settings; under auto those that the
    last attempt found, else all on a GPU that may halve them, else those that the estimate says fit."""
    settings, ranks = job.training, dist.get_world_size()
    share = settings.rows_at_a_time(job.plan.batch_size // ranks)
    if settings.microbatch_size != "auto":
        return share
    found = (event.get("value") for event in read_events_backwards(events) if is_microbatch_note(event))
    before = next(found, None)
    if before is not None:
        return min(share, int(before))
    if halves_when_memory_runs_out(settings):
        return share
    return fitting_microbatch(
        shape_of(job.model, job.manifest, lora=settings.lora),
        dataclasses.replace(settings, batch_size=job.plan.batch_size),
        ranks=ranks,
        seq_len=job.manifest.seq_len,
        bf16=computes_in_bf16(settings),
        room=room_of_a_rank(dist.get_local_world_size()),
    )


def parallelism(settings: TrainingSettings) -> dict[str, Any] | None:
    """How Composer spreads the weights over ranks; None for a copy on each.

    Checkpoints hold whole tensors, so that a run goes on with any number of ranks.
    """
    if settings.sharding == "none":
        return None
    config = FSDP2Config(
        reshard_after_forward=settings.sharding == "full",
        activation_checkpointing=settings.activation_checkpointing,
        state_dict_type="full",
    )
    return {"fsdp": config}
