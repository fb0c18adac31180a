"""Sampling a set of trajectories: Algorithm 1 for several K, and random paths beside it.

Paths of a K-run depend on the earlier ones and are made in order; K-runs are independent and go
to separate processes. Every finished path is a file, and a path depends on the settings and the
earlier paths alone, so a killed job goes on where it was and ends with the same bytes.
"""

import logging
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.algorithm1 import EarlierPaths, PathProblem, sample_path
from dmix.mixing.trajectories.candidates import (
    CandidateDistribution,
    HierarchicalDistribution,
    UniformDistribution,
)
from dmix.mixing.trajectories.random_paths import random_paths
from dmix.mixing.trajectories.settings import SampleSettings
from dmix.mixing.trajectories.store import (
    Trajectory,
    TrajectorySet,
    publish_set,
    read_trajectories,
    read_trajectory,
    trajectory_file,
    trajectory_id,
    write_trajectory,
)
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.files.processes import cores, obey_parent, start_tracker, starting_workers

__all__ = [
    "Trajectory",
    "TrajectorySet",
    "Work",
    "expected_work",
    "planned_set",
    "read_trajectories",
    "sample_trajectories",
]

logger = logging.getLogger(__name__)

_REPORT_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One K-run as a worker gets it."""

    folder: Path
    space: DomainSpace
    problem: PathProblem
    top_k: int
    paths: int


def planned_set(manifest: DatasetManifest, *, set_name: str, settings: SampleSettings) -> TrajectorySet:
    """What a set would be made from; touches no disk.

    Raises:
        InputError: If a field has no samples, or R is no multiple of the batch.
    """
    space = DomainSpace.of_dataset(manifest)
    settings = settings.resolved(space)
    return TrajectorySet(
        set_name=set_name,
        dataset=manifest.dataset,
        preset=settings.preset,
        settings=settings.to_json(),
        space=space.names,
        samples=tuple(int(count) for count in space.samples_N),
        step_samples=int(settings.samples_per_step),
        run_step_samples=int(settings.run_samples_per_step),
        steps=settings.required("steps"),
    )


def sample_trajectories(
    warehouse: Warehouse,
    *,
    manifest: DatasetManifest,
    set_name: str,
    settings: SampleSettings,
    processes: int | None = None,
    progress: Callable[[str], None] = logger.info,
) -> TrajectorySet:
    """Samples what is missing of a set and returns what `set.json` says.

    Args:
        warehouse: Where the set is written.
        manifest: The dataset whose domain space, shares and sizes are used.
        set_name: Name of the set; an existing one is gone on with.
        settings: Preset and what departs from it.
        processes: Processes to use; None takes one a core, at most one a K-run.
        progress: Gets a line now and then.

    Raises:
        InputError: If the set exists with other settings, or a setting does not fit the dataset.
        StorageError: If the disk is full.
    """
    wanted = planned_set(manifest, set_name=set_name, settings=settings)
    settings = settings.resolved(wanted.domain_space)
    found = publish_set(warehouse, wanted)
    runs = _runs(warehouse, found, settings)
    _write_random_paths(runs[0], settings=settings)
    processes = min(len(runs), processes or cores())
    total, missing = sum(run.paths for run in runs), _missing(runs)
    if not missing:
        progress(f"set {set_name}: all {total} paths of Algorithm 1 exist already")
    elif processes <= 1:
        _sample_here(runs, progress=_PathCounter(total, missing, progress))
    else:
        _sample_in_processes(runs, processes=processes, progress=_PathCounter(total, missing, progress))
    return found


def path_problem(found: TrajectorySet, settings: SampleSettings) -> PathProblem:
    """The arguments of Algorithm 1 for a set, over its active domains."""
    space = found.domain_space
    paper = settings.preset == "paper"
    distribution: CandidateDistribution = UniformDistribution() if paper else HierarchicalDistribution(space)
    return PathProblem(
        start_A=space.start_N[space.active_N],
        target_A=space.target_state_N[space.active_N],
        steps=found.steps,
        target_steps=found.target_steps,
        alpha=settings.alpha,
        beta=settings.beta,
        gamma=settings.gamma,
        step_offset=0 if paper else 1,
        distribution=distribution,
        candidates=settings.candidates,
        seed=settings.seed,
    )


@dataclass(frozen=True, kw_only=True)
class Work:
    """What sampling a set takes.

    Attributes:
        trajectories: Size of the finished set.
        missing: How many of them are not on disk.
        steps: Steps of Algorithm 1 still to make if no path stops early.
        seconds: Processor seconds for them, from a draw timed now.
    """

    trajectories: int
    missing: int
    steps: int
    seconds: float


def expected_work(warehouse: Warehouse, *, wanted: TrajectorySet, settings: SampleSettings) -> Work:
    """What is left to do for a set; draws one step's candidates to see how long that takes."""
    settings = settings.resolved(wanted.domain_space)
    runs = _runs(warehouse, wanted, settings)
    missing_paths = _missing(runs)
    steps = missing_paths * wanted.steps
    problem = runs[0].problem
    buffer_AC = np.empty((len(problem.start_A), problem.candidates), np.float32)
    seconds = []
    for seed in range(3):
        started = time.perf_counter()
        problem.distribution.fill(np.random.default_rng(seed), buffer_AC)
        seconds.append(time.perf_counter() - started)
    total = settings.required("paths") * len(settings.top_k) + settings.required("random_paths")
    done = len(list(warehouse.trajectories(wanted.set_name).glob("*.parquet")))
    return Work(trajectories=total, missing=total - done, steps=steps, seconds=steps * min(seconds))


class _PathCounter:
    """Turns a growing number of finished paths into lines with the time left."""

    def __init__(self, total: int, missing: int, progress: Callable[[str], None]) -> None:
        self._total, self._missing, self._progress = total, missing, progress
        self._started = self._reported = time.monotonic()

    def __call__(self, still_missing: int) -> None:
        now = time.monotonic()
        done = self._missing - still_missing
        if still_missing and (now - self._reported < _REPORT_SECONDS or not done):
            return
        self._reported = now
        seconds = (now - self._started) / max(1, done) * still_missing
        left = f", about {seconds:.0f} s left" if still_missing else f" in {now - self._started:.0f} s"
        self._progress(f"{self._total - still_missing} of {self._total} paths of Algorithm 1{left}")


def _runs(warehouse: Warehouse, found: TrajectorySet, settings: SampleSettings) -> list[_Run]:
    folder, space = warehouse.trajectories(found.set_name), found.domain_space
    problem, paths = path_problem(found, settings), settings.required("paths")
    return [_Run(folder=folder, space=space, problem=problem, top_k=k, paths=paths) for k in settings.top_k]


def _missing(runs: list[_Run]) -> int:
    """Number of inductive paths that are not on disk."""
    return sum(not _path_file(run, path).exists() for run in runs for path in range(run.paths))


def _write_random_paths(run: _Run, *, settings: SampleSettings) -> None:
    """Publishes the static and segment paths that are missing; they take milliseconds to make."""
    count, problem = settings.required("random_paths"), run.problem
    if not count:
        return
    static = count // 3
    made = random_paths(
        start_A=problem.start_A,
        distribution=HierarchicalDistribution(run.space),
        static=static,
        segments=count - static,
        steps=problem.steps,
        target_steps=problem.target_steps,
        seed=settings.seed,
    )
    for kind, paths in zip(("static", "segments"), made, strict=True):
        for number, path_TA in enumerate(paths):
            name = trajectory_id(kind, number)
            if not trajectory_file(run.folder, name).exists():
                _publish(run, path_TA, name=name, kind=kind, top_k=None)


def _sample_here(runs: list[_Run], *, progress: Callable[[int], None]) -> None:
    missing = _missing(runs)
    for run in runs:
        for _ in _new_paths(run):
            missing -= 1
            progress(missing)


def _sample_in_processes(runs: list[_Run], *, processes: int, progress: Callable[[int], None]) -> None:
    """One task a K-run; spawned processes, as forking a process with threads is unsafe."""
    start_tracker()
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with ProcessPoolExecutor(
        processes, mp_context=context, initializer=_start_worker, initargs=(stop,)
    ) as pool:
        with starting_workers():
            futures: list[Future[None]] = [pool.submit(_work, run) for run in runs]
        try:
            while True:
                done, waiting = wait(futures, timeout=0.25, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                progress(_missing(runs))
                if not waiting:
                    return
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


_stop: Any = None


def _start_worker(stop: Any) -> None:
    """Takes the stop event; signals are for the parent, which sets it."""
    global _stop
    _stop = stop
    obey_parent()


def _work(run: _Run) -> None:
    for _ in _new_paths(run):
        if _stop.is_set():
            return


def _new_paths(run: _Run) -> Iterator[int]:
    """Makes the missing paths of a K-run in order; yields the number of each when it is on disk."""
    problem = run.problem
    earlier = EarlierPaths(steps=problem.steps, domains=len(problem.start_A))
    buffer_AC = np.empty((len(problem.start_A), problem.candidates), np.float32)
    # Threads of the matrix library would fight over cores, and change the last bits of scores.
    with threadpool_limits(1):
        for path in range(run.paths):
            file = _path_file(run, path)
            if file.exists():
                earlier.add(read_trajectory(file).mixtures_TN[:, run.space.active_N])
                continue
            path_TA = sample_path(problem, top_k=run.top_k, path=path, earlier=earlier, buffer_AC=buffer_AC)
            _publish(run, path_TA, name=file.stem, kind="inductive", top_k=run.top_k)
            earlier.add(path_TA)
            yield path


def _path_file(run: _Run, path: int) -> Path:
    return trajectory_file(run.folder, trajectory_id("inductive", path, top_k=run.top_k))


def _publish(run: _Run, path_TA: NDArray[np.float64], *, name: str, kind: str, top_k: int | None) -> None:
    """Writes a path, with weight 0 for domains that are not active."""
    path_TN = np.zeros((len(path_TA), len(run.space)))
    path_TN[:, run.space.active_N] = path_TA
    write_trajectory(run.folder, Trajectory(trajectory_id=name, kind=kind, top_k=top_k, mixtures_TN=path_TN))
