"""The runs of the quickstart, half of them in a process of their own."""

import importlib
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from signal import SIG_DFL, SIG_UNBLOCK, SIGTERM, pthread_sigmask, signal
from typing import TYPE_CHECKING

from dmix.cli.show.output import say
from dmix.cli.workflows.quickstart import sizes
from dmix.cli.workflows.quickstart.files import Files
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.processes import cores, start_tracker, starting_workers
from dmix.warehouse_schema.progress import Progress

if TYPE_CHECKING:
    from dmix.training.run.summary import RunSummary


@contextmanager
def second_process(*, wanted: bool) -> Iterator[Executor | None]:
    """A process that trains half of the runs, where there are two cores or more.

    It imports what training needs while the stages before the runs use the other core.
    """
    if not wanted or cores() < 2:
        yield None
        return
    start_tracker()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_start_helper) as pool:
        with starting_workers():
            started = pool.submit(_begin_training)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            if started.done() and not started.exception():
                with suppress(ProcessLookupError):
                    os.kill(started.result(), SIGTERM)  # its run saves its state and ends
            raise


def _start_helper() -> None:
    """Ctrl-C is for the command, which sends SIGTERM."""
    pthread_sigmask(SIG_UNBLOCK, {SIGTERM})


def _begin_training() -> int:
    """Imports what training needs; the id of this process.

    Composer (0.32) handles SIGTERM by an exception. While this process has no run, that would end as a
    traceback behind the last line of the command.
    """
    importlib.import_module("dmix.training.run.launch")
    signal(SIGTERM, SIG_DFL)
    return os.getpid()


def train_all(
    warehouse: Warehouse,
    files: Files,
    jobs: list[tuple[str, int]],
    helper: Executor | None,
    *,
    progress: Progress,
) -> dict[str, list["RunSummary"]]:
    """The runs of each controller, every second one from the process of `helper`."""
    # with sizes, since the other process reads this module anew
    train = partial(_run, warehouse, files, steps=sizes.STEPS, samples_per_step=sizes.STEP_SAMPLES)
    theirs = {} if helper is None else {job: helper.submit(train, *job, progress=say) for job in jobs[1::2]}
    found = {job: train(*job, progress=progress) for job in jobs if job not in theirs}
    found |= {job: future.result() for job, future in theirs.items()}
    names = dict.fromkeys(name for name, _ in jobs)
    return {name: [found[job] for job in jobs if job[0] == name] for name in names}


def judge_all(
    warehouse: Warehouse, files: Files, runs: dict[str, list["RunSummary"]], *, progress: Progress
) -> None:
    """Scores the first and last model of each run on items that no controller saw, if there are any."""
    from dmix.cli.workflows.runs.evaluate import evaluate_models
    from dmix.training.evaluation.settings import EvaluationSettings

    if not files.judging.is_file():  # made by an earlier version
        return
    progress("judging the runs on items that no controller saw")
    for run in (summary for of in runs.values() for summary in of):
        evaluate_models(
            warehouse,
            run_id=run.run_id,
            steps=("0", str(run.steps)),
            environment=files.judging,
            settings=EvaluationSettings(),
            progress=lambda line: None,
        )


def _run_id(controller: str, seed: int) -> str:
    return f"{controller.partition(':')[0]}-{seed}"


def has_started(warehouse: Warehouse, controller: str, seed: int) -> bool:
    """True if the run has events."""
    return (warehouse.run(_run_id(controller, seed)) / "events.jsonl").is_file()


def _run(
    warehouse: Warehouse,
    files: Files,
    controller: str,
    seed: int,
    *,
    steps: int,
    samples_per_step: int,
    progress: Progress,
) -> "RunSummary":
    """One run: started, resumed, or found finished; its lines begin with its name."""
    from dmix.training.model.settings import load_training
    from dmix.training.run.config import make_config
    from dmix.training.run.launch import resume_run, start_run
    from dmix.training.run.request import RunRequest
    from dmix.training.run.summary import summarise

    run_id = _run_id(controller, seed)

    def named(line: str) -> None:
        progress(line if run_id in line else f"{run_id}: {line}")

    if has_started(warehouse, controller, seed):
        summary = summarise(warehouse.run(run_id) / "events.jsonl")
        return summary if summary.finished else resume_run(warehouse, run_id, progress=named)
    request = RunRequest(
        steps=steps, samples_per_step=samples_per_step, exhaustion="repeat", max_passes=100, seed=seed
    )
    of_farm = warehouse.feedback(sizes.NAME) / "environment.yaml"
    config = make_config(
        warehouse,
        request,
        model=sizes.NAME,
        controller=controller,
        training=load_training(files.config("training")),
        # the farm's, where there is one: its scales make the utilities of all runs comparable
        environment=of_farm if of_farm.is_file() else files.scaled,
        dataset=sizes.NAME,
        run_id=run_id,
    )
    return start_run(warehouse, config, progress=named)
