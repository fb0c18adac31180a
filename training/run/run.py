"""One training run, of any kind: guided, baseline, proxy or base model.

All of them go through `train`: the same dataset class, the same scoring, the same Composer loop.
What differs is the controller, the model they start from and what is kept. A run writes its facts
to `events.jsonl` in its folder and needs nothing else of the warehouse once it has started.
"""

import dataclasses
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
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
from torch.distributed.checkpoint.state_dict import StateDictOptions, _get_fqns, get_model_state_dict
from torch.utils.data import DataLoader

from dmix.mixing.controllers import Controller
from dmix.mixing.delivery.dataset import MixedDataset, StepBatchSampler, build_dataloader
from dmix.mixing.delivery.plan import MixerState, PlanSettings, check_settings
from dmix.mixing.delivery.streams import StreamSizes
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.lora import merge_adapters
from dmix.training.model.memory import fitting_microbatch, is_out_of_memory, room_of_a_rank, shape_of
from dmix.training.model.models import load_model
from dmix.training.model.precision import composer_precision, computes_in_bf16, cpu_has_bf16, on_gpu
from dmix.training.model.saving import publish_folder, save_model, try_saving, write_errors
from dmix.training.model.settings import ModelSettings, TrainingSettings, learning_rate_factor, rate_shares
from dmix.training.run.callback import MixtureCallback, is_microbatch_note
from dmix.training.run.checkpoint_files import (
    Restart,
    choose_checkpoint,
    latest_checkpoint,
    steps_done_at,
)
from dmix.training.run.checkpoints import due, make_saver, without_unpickling
from dmix.training.run.decisions import recorded_decisions
from dmix.training.run.ranks import (
    RANK_TIMEOUT_SECONDS,
    failing_together,
    is_first_rank,
    on_first_rank,
    prepare_ranks,
)
from dmix.training.run.state import RunState
from dmix.training.run.summary import RunSummary, summarise
from dmix.training.run.watching.loggers import make_loggers
from dmix.training.run.watching.progress import LineMonitor, Monitor
from dmix.training.run.watching.signals import StopRequest, stop_on_signal
from dmix.training.scoring.environment import Scorer
from dmix.warehouse_schema.errors import (
    InputError,
    InterruptedRunError,
    LockHeldError,
    NotFoundError,
    TrainingError,
)
from dmix.warehouse_schema.files.changes import EVENT, Change, changes_between, require_accepted
from dmix.warehouse_schema.files.events import EventLog, read_events_backwards, resume_command
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.weights import readable

logger = logging.getLogger(__name__)

KINDS = ("guided", "baseline", "proxy", "base")
OPTIMIZER_FILE = "optimizer.pt"

# Loader workers of a killed run notice within five seconds (torch) and hold its lock until then.
LOCK_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Everything that a run is made of.

    Attributes:
        run_id: Name of the run.
        kind: One of `KINDS`.
        streams: Folder of the dataset.
        streams_url: Where its shards are downloaded from; None if they are in `streams`.
        manifest: The dataset.
        model: Path of a model file or checkpoint folder, a hub id, or settings.
        controller: Chooses the mixtures.
        plan: R, B, seed and the rule for exhausted domains.
        steps: M.
        training: How the model is trained.
        environment: What it is scored on; None for no scores.
        optimizer: File with an optimiser's state to start from.
        result: Folder that the trained model goes to; None keeps none.
        allow_other_tokenizer: Take a model that comes with another tokenizer than the dataset's.
        keep_checkpoints: False for runs that are cheaper to repeat than to resume.
        config: Plain values for `run_started`.
        content: Digests of what the run reads elsewhere: items of objectives, code of controllers.
    """

    run_id: str
    kind: str
    streams: Path
    manifest: DatasetManifest
    model: str | ModelSettings
    controller: Controller
    plan: PlanSettings
    steps: int
    training: TrainingSettings
    environment: Environment | None = None
    streams_url: str | None = None
    optimizer: Path | None = None
    result: Path | None = None
    allow_other_tokenizer: bool = False
    keep_checkpoints: bool = True
    config: dict[str, Any] = field(default_factory=dict)
    content: dict[str, str] = field(default_factory=dict)

    @property
    def planned_batches(self) -> int:
        """Global batches of all steps, if the data lasts."""
        return self.steps * self.plan.step_samples // self.plan.batch_size


def train(
    job: TrainingJob,
    *,
    folder: Path,
    resume: bool = False,
    back: bool = False,
    accept_changes: bool = False,
    locked: bool = False,
    notes: Sequence[str] = (),
    progress: Callable[[str], None] = logger.info,
    monitor: Monitor | None = None,
) -> RunSummary:
    """Trains one run to its end, or goes on with one that was cut off.

    Called by every rank alike (`composer -n 8 …`); only rank 0 writes.

    Args:
        job: The run.
        folder: Where `events.jsonl` and `checkpoints/` go; each run has its own.
        resume: Go on from the newest checkpoint, or from the start if there is none.
        back: Take the checkpoint before the newest.
        accept_changes: Go on although items or controllers are not those of the last attempt.
        locked: Rank 0 holds `run_lock` already.
        notes: What else differs from the last attempt, for people and as events.
        progress: Receives a line per step, on rank 0, where there is no monitor.
        monitor: Told of batches and steps, on rank 0.

    Raises:
        InputError: If settings do not fit each other, or the run exists and `resume` is False.
        NotFoundError: If there is nothing to resume.
        LockHeldError: If another process writes this run.
        InterruptedRunError: If a signal asked it to stop; its state is saved.
        TrainingError: If the loss is not finite.
        VerificationError: If the samples consumed are not the ones planned.
    """
    prepare_ranks()
    streams = StreamSizes.of_manifest(job.manifest)
    check_settings(job.plan, streams=streams, world_size=dist.get_world_size())
    events = folder / "events.jsonl"
    with failing_together(), ExitStack() as stack:
        shared_log = on_first_rank(lambda: _begin(job, events, stack, resume=resume, locked=locked))
        log = shared_log if is_first_rank() else None
        if on_first_rank(lambda: _is_done(job, events)):
            return on_first_rank(lambda: summarise(events))
        changes = on_first_rank(lambda: changed_content(job, events, accept=accept_changes))
        restart = on_first_rank(lambda: choose_checkpoint(folder / "checkpoints", events, back=back))
        restart = dataclasses.replace(restart, notes=(*restart.notes, *notes), changes=changes)
        for note in (*restart.notes, *(c.digests for c in changes)) if is_first_rank() else ():
            progress(note)
        stop = stack.enter_context(stop_on_signal()) if job.keep_checkpoints else StopRequest()
        shown = LineMonitor(progress) if monitor is None else monitor
        with _memory_errors(job):
            _run(job, folder=folder, restart=restart, log=log, stop=stop, monitor=shown)
        return on_first_rank(lambda: summarise(events))


def changed_content(job: TrainingJob, events: Path, *, accept: bool) -> tuple[Change, ...]:
    """What differs in content from the last attempt of a run; decisions and scores of before and after a
    change cannot be compared.

    Raises:
        InputError: If something does, and `accept` is False.
    """
    changes = changes_between(recorded_content(events), job.content)
    require_accepted(changes, of=f"run {job.run_id}", accepted=accept)
    return changes


def recorded_content(events: Path) -> dict[str, str]:
    """Digests that the last attempt of a run began with; none before 0.2 or before the first."""
    started = (event for event in read_events_backwards(events) if event["event"] == "run_started")
    found: dict[str, str] = next((event.get("content", {}) for event in started), {})
    return found


@contextmanager
def _memory_errors(job: TrainingJob) -> Iterator[None]:
    """Says which settings take less memory, where it ran out.

    Raises:
        TrainingError: If it did.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        rows = job.plan.batch_size // dist.get_world_size()
        rows = job.training.rows_at_a_time(rows)
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise TrainingError(
            f"memory ran out ({said}): a forward pass takes {rows} samples of {job.manifest.seq_len} tokens;"
            " set microbatch_size lower in the training file, spread the weights over more ranks"
            " (sharding: full), or take a smaller model"
        ) from error


def run_lock(folder: Path, run_id: str) -> AbstractContextManager[None]:
    """Lets one process at a time write a run.

    Raises:
        LockHeldError: If another one still does after `LOCK_SECONDS`.
    """
    return held_lock(folder / ".lock", what=f"run {run_id}", timeout_seconds=LOCK_SECONDS)


def _begin(job: TrainingJob, events: Path, stack: ExitStack, *, resume: bool, locked: bool) -> EventLog:
    """Takes the lock of the run, checks that it may start, and opens its events for a new attempt."""
    if not locked:
        stack.enter_context(run_lock(events.parent, job.run_id))
    if resume and not events.is_file():
        raise NotFoundError(
            f"run {job.run_id} has not started yet, so it cannot be resumed; leave out --resume"
        )
    if not resume and events.is_file():
        raise InputError(
            f"run {job.run_id} exists; go on with it by {_resuming(job, events.parent)}, or choose another"
            " --run"
        )
    return EventLog(events, run_id=job.run_id)


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
        with readable(state_file, what="the state of an optimiser", fix="train its model again"):
            saved = torch.load(state_file, map_location="cpu", weights_only=True)
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": saved["state"], "param_groups": groups})
    return optimizer


def _run(
    job: TrainingJob,
    *,
    folder: Path,
    restart: Restart,
    log: EventLog | None,
    stop: StopRequest,
    monitor: Monitor,
) -> None:
    """Builds the parts of a run, trains, and writes what it ends with."""
    checkpoint = restart.checkpoint
    # before the weights take their share of the free memory
    microbatch = on_first_rank(lambda: _first_microbatch(job, folder / "events.jsonl"))
    with open_streams(job) as dataset:
        model = load_model(
            job.model,
            job.manifest,
            reset_at_documents=job.training.reset_at_documents,
            sharded=job.training.sharding != "none",
            tokenizer_file=job.streams / "tokenizer.json",
            allow_other_tokenizer=job.allow_other_tokenizer,
            lora=job.training.lora,
            seed=job.training.seed,
        )
        model.bf16_on_cpu = computes_in_bf16(job.training) and not on_gpu()
        if model.bf16_on_cpu and not cpu_has_bf16() and is_first_rank():
            logger.warning("this processor emulates bf16, which is slower than precision fp32")
        if job.result is not None:
            result = job.result
            on_first_rank(lambda: _prepare_result(job, model, result))
        sampler = StepBatchSampler(dataset, settings=job.plan)
        callback = _make_callback(
            job,
            model,
            sampler,
            folder=folder,
            checkpoint=checkpoint,
            log=log,
            stop=stop,
            monitor=monitor,
        )
        with _not_kept_until_exit(), without_unpickling():
            trainer = _make_trainer(
                job,
                model,
                _make_loader(dataset, sampler, job.training),
                callback,
                precision=composer_precision(job.training),
                folder=folder,
                checkpoint=checkpoint,
                microbatch=microbatch,
            )
        _take_rate(trainer, job.training.peak_rate)
        try:
            with failing_together():
                _fit(job, trainer, callback, folder=folder, restart=restart, log=log)
        finally:
            trainer.close()
            # torch (2.7) keeps every model whose state was saved, as the key of this cache
            _get_fqns.cache_clear()


def open_streams(job: TrainingJob) -> MixedDataset:
    """The dataset, from the warehouse or through a cache of remote shards.

    Runs that are not resumed (proxies) are trained several at a time on a machine; each takes the
    first cache that none of the others uses.
    """
    settings, name = job.training, job.manifest.dataset
    remote = f"{settings.streams_url.rstrip('/')}/{name}" if settings.streams_url else job.streams_url
    if remote is None:
        if settings.cache_folder or settings.cache_limit:
            raise InputError(
                "cache_folder and cache_limit are for streams that are downloaded, and these are local; set"
                " streams_url, or leave them out of the training file"
            )
        return MixedDataset(job.manifest, job.streams)
    cache = Path(settings.cache_folder or Path(tempfile.gettempdir(), f"dmix-cache-{os.getuid()}"))
    opened = partial(MixedDataset, job.manifest, remote=remote, cache_limit=settings.cache_limit)
    if job.keep_checkpoints:
        return opened(cache / name)
    numbers = count()
    while True:
        with suppress(LockHeldError):
            return opened(cache / f"{name}-{next(numbers)}", cache_wait_seconds=0)


def _fit(
    job: TrainingJob,
    trainer: Trainer,
    callback: MixtureCallback,
    *,
    folder: Path,
    restart: Restart,
    log: EventLog | None,
) -> None:
    """Trains what is left of the run, and writes its first and its last event.

    A run that could not even be built leaves no events, so that it can be started again.
    """
    if log is not None:
        for change in restart.changes:  # first: a start with the new digests would hide them from the next
            log.write(EVENT, step=callback.state.steps_done, detail=change.digests, **change.to_json())
        log.write(
            "run_started",
            kind=job.kind,
            dataset=job.manifest.dataset,
            controller=job.controller.name,
            config=job.config,
            content=job.content,
            space=[list(pair) for pair in callback.space.names],
            resumed_from_step=callback.state.steps_done,
            resumed_from_batch=trainer.state.timestamp.batch.value,
            parameters=callback.model.parameters_count,
            world_size=dist.get_world_size(),
        )
        for note in restart.notes:
            log.write("note", step=callback.state.steps_done, kind="checkpoint", detail=note)
    try:
        if not callback.state.finished:
            _restore_random_state(trainer)
            with warnings.catch_warnings():
                # said as an event and a line of the log
                warnings.filterwarnings(
                    "ignore", message="CUDA out of memory or excessive", category=RuntimeWarning
                )
                trainer.fit()
        if not callback.state.finished:
            raise InterruptedRunError(
                f"run {job.run_id} stopped after {callback.state.steps_done} of {job.steps} steps; go on with"
                f" {_resuming(job, folder)}"
            )
        if job.result is not None:
            _keep_model(job, callback.model, trainer.state.optimizers[0])
    except TrainingError as error:
        if log is not None:
            log.write("run_failed", step=callback.state.steps_done + 1, detail=error.message)
        if not job.keep_checkpoints:
            raise
        raise TrainingError(f"{error.message}; {_what_is_whole(job, folder)}") from error
    except (Exception, KeyboardInterrupt) as error:
        step, detail = callback.state.steps_done + 1, str(error) or type(error).__name__
        if log is not None and not isinstance(error, InterruptedRunError):
            log.write("run_failed", step=step, detail=detail)
        if isinstance(error, KeyboardInterrupt) and job.keep_checkpoints and dist.get_world_size() == 1:
            whole = _what_is_whole(job, folder)
            raise InterruptedRunError(f"run {job.run_id} ended in step {step}, unsaved; {whole}") from None
        raise
    if log is not None:
        log.write("run_done", step=callback.state.steps_done, detail=callback.ending)
        if job.training.keep == "model":
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _is_done(job: TrainingJob, events: Path) -> bool:
    """Whether a run that keeps its model alone has ended, so that no checkpoint says so."""
    if job.training.keep == "all" or job.result is None or not job.result.is_dir():
        return False
    last = next(read_events_backwards(events), None)
    return last is not None and last["event"] == "run_done"


def _take_rate(trainer: Trainer, rate: float) -> None:
    """Gives optimiser and schedule this peak rate; a checkpoint restores the one that it was written with."""
    for optimizer in trainer.state.optimizers:
        for group in optimizer.param_groups:
            if group.get("initial_lr", rate) != rate:
                group["lr"] *= rate / group["initial_lr"]
                group["initial_lr"] = rate
    for scheduler in trainer.state.schedulers:
        scheduler.base_lrs = [rate for _ in scheduler.base_lrs]


def _what_is_whole(job: TrainingJob, folder: Path) -> str:
    """Which checkpoint a failed run can go on from, in words."""
    whole = latest_checkpoint(folder / "checkpoints")
    if whole is None:
        return f"there is no checkpoint of it yet; begin it again with {_resuming(job, folder)}"
    return (
        f"checkpoint {whole.name} (after step {steps_done_at(whole)}) is whole; go on from it with"
        f" {_resuming(job, folder)}"
    )


def _resuming(job: TrainingJob, folder: Path) -> str:
    """How a run goes on: a command that works when it is copied."""
    if job.kind == "base":
        return "the same command"
    launched = " under the same launcher" if dist.get_world_size() > 1 else ""
    return f"{resume_command(folder)}{launched}"


def _restore_random_state(trainer: Trainer) -> None:
    """Puts the random generators where a checkpoint within a step left them, so that dropout goes on.

    Composer does so itself at the start of an epoch, and within one only after it has taken the
    finished batches out of the loader again, which our sampler makes needless. A rank that the
    checkpoint knows nothing of keeps the state that its seed gives.
    """
    saved = trainer._rng_state
    if saved is not None and trainer.state.timestamp.batch_in_epoch.value:
        load_rng_state(saved)


def _make_loader(dataset: MixedDataset, sampler: StepBatchSampler, settings: TrainingSettings) -> DataLoader:
    workers = settings.loader_workers
    return build_dataloader(
        dataset,
        sampler,
        num_workers=(2 if on_gpu() else 0) if workers is None else workers,
        pin_memory=on_gpu(),
    )


def _make_callback(
    job: TrainingJob,
    model: LanguageModel,
    sampler: StepBatchSampler,
    *,
    folder: Path,
    checkpoint: Path | None,
    log: EventLog | None,
    stop: StopRequest,
    monitor: Monitor,
) -> MixtureCallback:
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
        recorded=recorded_decisions(folder / "events.jsonl", after=steps_done_at(checkpoint)),
        stop=stop,
        monitor=monitor,
        learning_rate=job.training.peak_rate,
        finds_microbatch=job.training.microbatch_size == "auto",
    )


def make_scorer(job: TrainingJob, environment: Environment, model: LanguageModel) -> Scorer:
    """Scores models of this shape on an environment, with the tokenizer of the job's dataset."""
    return Scorer(
        environment,
        tokenizer=load_tokenizer_file(job.streams / "tokenizer.json"),
        tokenizer_file=job.manifest.tokenizer,
        max_length=model.max_length,
    )


@contextmanager
def _not_kept_until_exit() -> Iterator[None]:
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


def _make_trainer(
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
    settings = job.training

    def rate(state: State, ssr: float = 1.0) -> float:
        return learning_rate_factor(state.timestamp.batch.value, total=job.planned_batches, settings=settings)

    callbacks: list[Any] = [callback]
    if job.keep_checkpoints:
        save_now = due(
            settings, stopping=lambda: callback.stopping, last_batch=lambda: callback.batches_in_step
        )
        saver = make_saver(folder / "checkpoints", settings, resumed_from=checkpoint, save_now=save_now)
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
    return trainer


def halves_when_memory_runs_out(settings: TrainingSettings) -> bool:
    """Whether Composer halves the microbatch when a GPU's memory runs out; it cannot with sharded weights."""
    return settings.microbatch_size == "auto" and settings.sharding == "none" and on_gpu()


def _first_microbatch(job: TrainingJob, events: Path) -> int:
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


def _keep_model(job: TrainingJob, model: LanguageModel, optimizer: torch.optim.Optimizer) -> None:
    """Writes the trained model, visible in one step; rank 0 writes, the others hand over their share.

    The optimiser's state goes with it, except that of sharded weights: only proxies and base models
    are started from one, and those fit on one device.
    """
    assert job.result is not None
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights = get_model_state_dict(model.network, options=whole) if model.sharded else None
    if not is_first_rank():
        return
    lora = job.training.lora
    if lora is not None and lora.merge:
        merge_adapters(model.network)
    rate = job.training.peak_rate if lora is None else None
    temporary = job.result.with_name(f".{job.result.name}.{os.getpid()}")
    try:
        save_model(
            model,
            temporary,
            streams=job.streams,
            manifest=job.manifest,
            weights=weights,
            learning_rate=rate,
        )
        if not model.sharded and job.training.keep == "all":
            with write_errors(temporary):
                torch.save(optimizer.state_dict(), temporary / OPTIMIZER_FILE)
        publish_folder(temporary, job.result)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _prepare_result(job: TrainingJob, model: LanguageModel, result: Path) -> None:
    """Removes what a killed attempt left of the trained model, and tries whether it can be saved."""
    for left in result.parent.glob(f".{result.name}.*"):
        shutil.rmtree(left, ignore_errors=True)
    try_saving(model, result, streams=job.streams, manifest=job.manifest)
