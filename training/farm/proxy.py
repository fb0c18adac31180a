"""One proxy: a small model that is trained along one trajectory and scored at every step.

It goes through the same `train` as a guided run, with a controller that replays the trajectory.
It writes into a temporary folder and keeps no checkpoints and no entry among the runs: a proxy
takes minutes, is cheaper to repeat than to resume, and what counts of it is its feedback.
"""

import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dmix.mixing.controllers.replay import ReplayController
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.task import ProxyTask, asked_mixtures, order_seed, plan_of
from dmix.training.farm.variations import OTHER_BASE, varied_proxy
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.run.run import train
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.sizes import num_text

__all__ = [
    "ProxyResult",
    "ProxyTask",
    "asked_mixtures",
    "order_seed",
    "proxy_feedback",
    "proxy_job",
    "proxy_result",
    "use_one_thread",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ProxyResult:
    """What one proxy says about its trajectory.

    Attributes:
        scores_TD: Nats a token, shape (T, D): row t is scored after training on mixture t, row 0
            before any training; NaN for steps that the dataset had no samples left for.
        planned_TN: Mixtures it was trained on, shape (T, N), row 0 its start state; the asked ones
            where the dataset had no samples left.
        variation: How it departed from the usual proxy; empty if it did not.
    """

    scores_TD: NDArray[np.float64]
    planned_TN: NDArray[np.float64]
    variation: str


def proxy_feedback(task: ProxyTask, trajectory: Trajectory) -> ProxyResult:
    """Trains and scores the proxy of a trajectory (mixtures, row 0 the start state)."""
    warehouse = Warehouse.at(task.root)
    with tempfile.TemporaryDirectory(prefix="dmix-proxy-") as folder:
        summary = train(
            proxy_job(task, trajectory, warehouse=warehouse), folder=Path(folder), progress=logger.debug
        )
    space = DomainSpace.of_dataset(read_dataset_manifest(warehouse, task.dataset))
    return proxy_result(
        task, trajectory, space=space, planned_SN=summary.planned_TN, scores_TD=summary.feedback_TD
    )


def proxy_result(
    task: ProxyTask,
    trajectory: Trajectory,
    *,
    space: DomainSpace,
    planned_SN: NDArray[np.float64],
    scores_TD: NDArray[np.float64],
) -> ProxyResult:
    """The result of a proxy that was trained on S steps, filled up to the length of its trajectory.

    Args:
        task: What the proxies share.
        trajectory: What it followed.
        space: Of the dataset.
        planned_SN: Mixtures of the steps, shape (S, N).
        scores_TD: Scores before and after them, shape (S + 1, D).
    """
    planned_TN = asked_mixtures(task, trajectory, space=space).copy()
    steps, wanted = len(planned_SN), len(planned_TN)
    planned_TN[1 : steps + 1] = planned_SN
    filled_TD = np.full((wanted, scores_TD.shape[1]), np.nan)
    filled_TD[: steps + 1] = scores_TD
    if steps + 1 < wanted:
        logger.warning(
            "trajectory %s: dataset %s ran out of samples after %d of %s",
            trajectory.trajectory_id,
            task.dataset,
            steps,
            num_text(wanted - 1, "step"),
        )
    variation = task.variation(trajectory.trajectory_id, space=space)
    return ProxyResult(scores_TD=filled_TD, planned_TN=planned_TN, variation=variation)


def proxy_job(task: ProxyTask, trajectory: Trajectory, *, warehouse: Warehouse) -> TrainingJob:
    """The run of one proxy."""
    manifest = read_dataset_manifest(warehouse, task.dataset)
    space = DomainSpace.of_dataset(manifest)
    variation = task.variation(trajectory.trajectory_id, space=space)
    proxy = varied_proxy(task.proxy, variation)
    base = next((b for b in task.other_bases if variation == f"{OTHER_BASE}{b.name}"), task.base)
    training = proxy.training
    return TrainingJob(
        run_id=trajectory.trajectory_id,
        kind="proxy",
        streams=warehouse.stream(manifest.dataset),
        streams_url=warehouse.stream_url(manifest.dataset),
        manifest=manifest,
        model=proxy.model() if base is None else str(base),
        controller=ReplayController(asked_mixtures(task, trajectory, space=space)),
        plan=plan_of(task, trajectory, training=training),
        steps=len(trajectory.mixtures_TN) - 1,
        training=training,
        environment=task.environment,
        optimizer=None if base is None else base / OPTIMIZER_FILE,
        keep_checkpoints=False,
    )


def use_one_thread() -> None:
    """For a process that shares the cores with other proxies.

    Two torch threads on two busy cores were seen to be ten times slower than one thread each.
    """
    torch.set_num_threads(1)
