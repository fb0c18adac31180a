"""Runs units on worker processes of one thread each.

A worker imports torch and Composer once and runs many units. It writes the file of a unit itself,
when it starts and when it ends, so nothing is lost with the queue. A worker whose queue is killed
ends, too.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.units.store import finished_units, keep_attempt, now, run_row, write_unit
from dmix.training.comparison.units.units import Unit
from dmix.training.run.watching.progress import duration
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.processes import obey_parent, start_tracker, starting_workers

_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, kw_only=True)
class QueueReport:
    """What became of a queue.

    Attributes:
        done: Units that finished.
        failed: Units that failed.
        left: Units that were not started for lack of time.
    """

    done: int
    failed: int
    left: int


def missing_units(units: Sequence[Unit], paths: StudyPaths) -> list[Unit]:
    """The units that are not done, each once, in order."""
    done = finished_units(paths)
    return list({unit.unit_id: unit for unit in units if unit.unit_id not in done}.values())


def run_queue(
    units: Sequence[Unit],
    paths: StudyPaths,
    loaded: LoadedSetting,
    *,
    workers: int,
    until: float | None,
    commit: str,
    progress: Callable[[str], None],
) -> QueueReport:
    """Runs the units that are not done.

    Args:
        units: In the order in which they start.
        paths: Prepared for the setting.
        loaded: The setting.
        workers: Processes.
        until: `time.monotonic()` from which no unit is started; None for no limit.
        commit: Version of the code, for the record.
        progress: Receives a line whenever a unit ends.
    """
    todo = missing_units(units, paths)
    waiting, running = list(todo), dict[Future[tuple[float, str]], Unit]()
    taken: list[float] = []
    failed = 0
    start_tracker()
    context = multiprocessing.get_context("spawn")
    with (
        _one_thread_each(),
        ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker) as pool,
    ):
        while True:
            # only as many as there are workers are handed out, so that a limit of time holds
            while waiting and len(running) < workers and (until is None or time.monotonic() < until):
                unit = waiting.pop(0)
                with starting_workers():
                    running[pool.submit(execute, unit, paths, loaded, commit)] = unit
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                unit = running.pop(future)
                seconds, error = future.result()
                failed += bool(error)
                taken += [] if error else [seconds]
                done, mean = len(taken) + failed, sum(taken) / max(1, len(taken))
                left, said = duration(mean * (len(todo) - done) / workers), _outcome(unit, seconds, error)
                progress(f"unit {done}/{len(todo)} · {said} · about {left} left")
    return QueueReport(done=len(taken), failed=failed, left=len(waiting))


def execute(unit: Unit, paths: StudyPaths, loaded: LoadedSetting, commit: str) -> tuple[float, str]:
    """Runs one unit and writes its file; returns seconds, and what went wrong."""
    from dmix.training.comparison.units.run_unit import run_unit

    row = run_row(unit, status="running", commit=commit, started_at=now())
    keep_attempt(paths, unit)
    write_unit(paths, row)
    started = time.monotonic()
    try:
        result = run_unit(unit, paths, loaded)
    except Exception as error:
        # one run that cannot be made must not end the others; it stays on record
        text = error.message if isinstance(error, DmixError) else _last_lines(error)
        seconds = time.monotonic() - started
        write_unit(paths, row | {"status": "failed", "error": text, "seconds": seconds, "finished_at": now()})
        return seconds, text
    seconds = time.monotonic() - started
    ended = {"status": "done", "seconds": seconds, "finished_at": now()}
    write_unit(paths, row | result.facts | ended, steps=result.steps, items=result.items)
    return seconds, ""


def _last_lines(error: Exception) -> str:
    return "".join(traceback.format_exception(error)[-3:])


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Environment under which new processes use one thread each; the old one comes back."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _start_worker() -> None:
    """One torch thread; signals are for the queue; the death of the queue is the worker's."""
    import torch

    torch.set_num_threads(1)
    obey_parent()


def _outcome(unit: Unit, seconds: float, error: str) -> str:
    ended = f"failed: {error.strip().splitlines()[-1]}" if error else f"{seconds:.0f} s"
    return f"{unit.stage} · {unit.controller} · seed {unit.seed} · {ended}"
