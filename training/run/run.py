"""One training run, of any kind: guided, baseline, proxy or base model.

All of them go through `train`: the same dataset class, the same scoring, the same Composer loop.
What differs is the controller, the model they start from and what is kept. A run writes its facts
to `events.jsonl` in its folder and needs nothing else of the warehouse once it has started.
"""

import dataclasses
import logging
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from composer import Trainer
from composer.utils import dist
from torch.distributed.checkpoint.state_dict import _get_fqns

from dmix.mixing.delivery.dataset import StepBatchSampler
from dmix.mixing.delivery.step_plan import check_settings
from dmix.mixing.delivery.streams import StreamSizes
from dmix.training.model.estimate.processor import cpu_has_bf16
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.training.model.out_of_memory import is_out_of_memory
from dmix.training.model.precision import composer_precision, computes_in_bf16, on_gpu
from dmix.training.run.assembly.job import TrainingJob, open_streams
from dmix.training.run.assembly.result import keep_model, prepare_result
from dmix.training.run.assembly.trainer import (
    first_microbatch,
    halves_when_memory_runs_out,
    make_callback,
    make_loader,
    make_trainer,
    not_kept_until_exit,
    restore_random_state,
    take_rate,
)
from dmix.training.run.callback import MixtureCallback
from dmix.training.run.checkpoints import check_finite, without_unpickling
from dmix.training.run.ranks import (
    RankLostError,
    failing_together,
    is_first_rank,
    on_first_rank,
    prepare_ranks,
)
from dmix.training.run.request import lock_file
from dmix.training.run.resuming.checkpoint_files import (
    Restart,
    choose_checkpoint,
    latest_checkpoint,
    names_of_run,
    steps_done_at,
)
from dmix.training.run.resuming.differences import changed_content
from dmix.training.run.resuming.ended import record_changes
from dmix.training.run.summary import RunSummary, summarise
from dmix.training.run.watching.progress import LineMonitor, Monitor
from dmix.training.run.watching.signals import StopRequest, stop_on_signal
from dmix.warehouse_schema.errors import (
    InputError,
    InterruptedRunError,
    NotFoundError,
    TrainingError,
    first_line,
)
from dmix.warehouse_schema.files.changes import EVENT
from dmix.warehouse_schema.files.events import EventLog, has_ended, resume_command
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.progress import during
from dmix.warehouse_schema.sizes import num_text

logger = logging.getLogger(__name__)

# Loader workers of a killed run notice within five seconds (torch) and hold its lock until then.
LOCK_SECONDS = 15.0


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
    """Trains one run to its end, or resumes one that was cut off.

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
    with failing_together(patience_seconds=job.training.rank_timeout), ExitStack() as stack:
        shared_log = on_first_rank(lambda: _begin(job, events, stack, resume=resume, locked=locked))
        log = shared_log if is_first_rank() else None
        changes = on_first_rank(
            lambda: changed_content(job.run_id, job.content, events, accept=accept_changes)
        )
        if not back and on_first_rank(lambda: has_ended(events, job.result)):
            if log is not None:
                record_changes(log, changes, job.content)
            return on_first_rank(lambda: _summary(job, events))
        restart = on_first_rank(lambda: choose_checkpoint(folder / "checkpoints", events, back=back))
        restart = dataclasses.replace(restart, notes=(*restart.notes, *notes), changes=changes)
        for note in (*restart.notes, *(c.digests for c in changes)) if is_first_rank() else ():
            progress(note)
        if is_first_rank():
            progress(_where_it_begins(job, restart.checkpoint))
        said = progress if is_first_rank() else logger.debug
        stop = stack.enter_context(stop_on_signal(said)) if job.keep_checkpoints else StopRequest()
        shown = LineMonitor(progress) if monitor is None else monitor
        with _memory_errors(job):
            _run(job, folder=folder, restart=restart, log=log, stop=stop, monitor=shown, progress=said)
        return on_first_rank(lambda: _summary(job, events))


def _summary(job: TrainingJob, events: Path) -> RunSummary:
    """What the run came to, under its present name: its folder may have been renamed since it ended."""
    return dataclasses.replace(summarise(events), run_id=job.run_id)


def _where_it_begins(job: TrainingJob, checkpoint: Path | None) -> str:
    """What happens before the first line about a step, which can take minutes."""
    if checkpoint is not None:
        return f"run {job.run_id}: resuming after step {steps_done_at(checkpoint)} of {job.steps}"
    scoring = "" if job.environment is None else " and scoring it before step 1"
    return f"run {job.run_id}: loading the model{scoring}"


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
        raise TrainingError(
            f"memory ran out ({first_line(error)}) in a forward pass of {num_text(rows, 'sample')} with "
            f"{num_text(job.manifest.seq_len, 'token')} each. In the training file, set a smaller "
            "microbatch_size, or set sharding: full and "
            "use more ranks. Otherwise, use a smaller model"
        ) from error


def run_lock(folder: Path, run_id: str) -> AbstractContextManager[None]:
    """Lets one process at a time write a run.

    Raises:
        LockHeldError: If another one still does after `LOCK_SECONDS`.
    """
    return held_lock(lock_file(folder), what=f"run {run_id}", timeout_seconds=LOCK_SECONDS, of_job=True)


def _begin(job: TrainingJob, events: Path, stack: ExitStack, *, resume: bool, locked: bool) -> EventLog:
    """Takes the lock of the run, checks that it may start, and opens its events for a new attempt."""
    if not locked:
        stack.enter_context(run_lock(events.parent, job.run_id))
    if resume and not events.is_file():
        raise NotFoundError(f"run {job.run_id} has not started yet; leave out --resume")
    if not resume and events.is_file():
        raise InputError(
            f"run {job.run_id} already exists; to resume this run, use "
            f"{_resuming(job, events.parent)}. Otherwise, choose another "
            f"{'--name' if job.kind == 'base' else '--run'}"
        )
    return EventLog(events, run_id=job.run_id)


def _run(
    job: TrainingJob,
    *,
    folder: Path,
    restart: Restart,
    log: EventLog | None,
    stop: StopRequest,
    monitor: Monitor,
    progress: Callable[[str], None],
) -> None:
    """Builds the parts of a run, trains, and writes what it ends with."""
    checkpoint = restart.checkpoint
    # before the weights take their share of the free memory
    microbatch = on_first_rank(lambda: first_microbatch(job, folder / "events.jsonl"))
    if job.training.microbatch_size == "auto":
        halves = "; fewer if the memory runs out" if halves_when_memory_runs_out(job.training) else ""
        progress(f"microbatch_size auto: {num_text(microbatch, 'sample')} per forward pass on a rank{halves}")
    with open_streams(job) as dataset:
        model = _model_of(job)
        if job.result is not None:
            result = job.result
            on_first_rank(lambda: prepare_result(job, model, result))
        sampler = StepBatchSampler(dataset, settings=job.plan)
        callback = make_callback(
            job,
            model,
            sampler,
            dataset,
            folder=folder,
            checkpoint=checkpoint,
            log=log,
            stop=stop,
            monitor=monitor,
        )
        with not_kept_until_exit(), without_unpickling(of=names_of_run(job.run_id, folder / "events.jsonl")):
            trainer = make_trainer(
                job,
                model,
                make_loader(dataset, sampler, job.training),
                callback,
                precision=composer_precision(job.training),
                folder=folder,
                checkpoint=checkpoint,
                microbatch=microbatch,
            )
        take_rate(trainer, job.training.peak_rate)
        try:
            with failing_together():
                _fit(job, trainer, callback, folder=folder, restart=restart, log=log)
        finally:
            # not trainer.close(), which waits for all ranks: one that fails alone has to say so and to end
            trainer.engine.close()
            # torch (2.7) keeps every model whose state was saved, as the key of this cache
            _get_fqns.cache_clear()


def _model_of(job: TrainingJob) -> LanguageModel:
    """The model at the start of the run, in the precision of this device."""
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
    return model


@during("")
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
        _write_start(log, job, trainer, callback, restart=restart)
    try:
        if not callback.state.finished:
            restore_random_state(trainer)
            with warnings.catch_warnings():
                # said as an event and a line of the log
                warnings.filterwarnings(
                    "ignore", message="CUDA out of memory or excessive", category=RuntimeWarning
                )
                with failing_together():  # so that the event and the advice name the rank that failed
                    trainer.fit()
        if not callback.state.finished:
            raise InterruptedRunError(
                f"run {job.run_id} stopped after {callback.state.steps_done} of "
                f"{num_text(job.steps, 'step')}; to "
                f"resume this run, use {_resuming(job, folder)}"
            )
        if job.result is not None:
            check_finite(trainer.state)  # a run may write no checkpoint
            keep_model(job, callback.model, trainer.state.optimizers[0])
    except TrainingError as error:
        if log is not None:
            lost = {"rank_lost": True} if isinstance(error, RankLostError) else {}
            log.write("run_failed", step=callback.state.steps_done + 1, detail=error.message, **lost)
        if not job.keep_checkpoints:
            raise
        raise type(error)(f"{error.message}; {_what_is_whole(job, folder)}") from error
    except (Exception, KeyboardInterrupt) as error:
        step, detail = callback.state.steps_done + 1, str(error) or type(error).__name__
        if log is not None:
            stopped = isinstance(error, InterruptedRunError)
            log.write("run_stopped" if stopped else "run_failed", step=step - stopped, detail=detail)
        if isinstance(error, KeyboardInterrupt) and job.keep_checkpoints and dist.get_world_size() == 1:
            whole = _what_is_whole(job, folder)
            raise InterruptedRunError(
                f"run {job.run_id} ended in step {step} and did not save this step; {whole}"
            ) from None
        raise
    if log is not None:
        log.write("run_done", step=callback.state.steps_done, detail=callback.ending)
        if job.training.keep == "model":
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _write_start(
    log: EventLog, job: TrainingJob, trainer: Trainer, callback: MixtureCallback, *, restart: Restart
) -> None:
    """Writes the events that an attempt begins with: what changed, the start, notes on checkpoints."""
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


def _what_is_whole(job: TrainingJob, folder: Path) -> str:
    """Which checkpoint a failed run can go on from, in words."""
    whole = latest_checkpoint(folder / "checkpoints")
    if whole is None:
        return f"the run has no checkpoint yet; to start it again, use {_resuming(job, folder)}"
    return (
        f"checkpoint {whole.name} (after step {steps_done_at(whole)}) is complete; to resume from there, "
        f"use {_resuming(job, folder)}"
    )


def _resuming(job: TrainingJob, folder: Path) -> str:
    """How a run goes on: a command that works when it is copied."""
    if job.kind == "base":
        return "the same command"
    launched = " under the same launcher" if dist.get_world_size() > 1 else ""
    return f"{resume_command(folder)}{launched}"
