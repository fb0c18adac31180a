"""One proxy: a small model that is trained along one trajectory and scored at every step.

It goes through the same `train` as a guided run, with a controller that replays the trajectory.
It writes into a temporary folder and keeps no checkpoints and no entry among the runs: a proxy
takes minutes, is cheaper to repeat than to resume, and what counts of it is its feedback.
"""

import hashlib
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dmix.mixing.controllers.replay import ReplayController
from dmix.mixing.objectives import Environment
from dmix.mixing.plan import PlanSettings
from dmix.mixing.trajectory_store import Trajectory
from dmix.training.run import OPTIMIZER_FILE, TrainingJob, train
from dmix.training.settings import ProxySettings
from dmix.warehouse_schema.layout import Warehouse
from dmix.warehouse_schema.manifests import read_dataset_manifest

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProxyTask:
    """What all proxies of a farm share; small, and sent to other processes.

    Attributes:
        root: Folder of the warehouse.
        set_name: The set of trajectories.
        dataset: Id of the dataset.
        step_samples: R of the farm.
        environment: What proxies are scored on.
        proxy: The model and its training.
        base: Folder of the base model; None for `init: scratch`.
    """

    root: Path
    set_name: str
    dataset: str
    step_samples: int
    environment: Environment
    proxy: ProxySettings
    base: Path | None


def proxy_feedback(task: ProxyTask, trajectory: Trajectory) -> NDArray[np.float64]:
    """Scores along a trajectory, in nats a token.

    Args:
        task: The farm.
        trajectory: Mixtures, row 0 the start state.

    Returns:
        Shape (T, D): row t is scored after training on mixture t, row 0 before any training. NaN
        for steps that the dataset had no samples left for.
    """
    warehouse = Warehouse.at(task.root)
    manifest = read_dataset_manifest(warehouse, task.dataset)
    with tempfile.TemporaryDirectory(prefix="dmix-proxy-") as folder:
        summary = train(
            proxy_job(task, trajectory, warehouse=warehouse), folder=Path(folder), progress=logger.debug
        )
    wanted = len(trajectory.mixtures_TN)
    scores_TD = np.full((wanted, len(summary.objectives)), np.nan)
    scores_TD[: len(summary.feedback_TD)] = summary.feedback_TD
    if len(summary.feedback_TD) < wanted:
        logger.warning(
            "trajectory %s: dataset %s ran out of samples after %d of %d steps",
            trajectory.trajectory_id,
            manifest.dataset,
            summary.steps,
            wanted - 1,
        )
    return scores_TD


def proxy_job(task: ProxyTask, trajectory: Trajectory, *, warehouse: Warehouse) -> TrainingJob:
    """The run of one proxy.

    Exhausted domains hand their share over (`redistribute`), as in a guided run under `stop`, but
    the run goes on to the end of the trajectory.
    """
    manifest = read_dataset_manifest(warehouse, task.dataset)
    training = task.proxy.training
    return TrainingJob(
        run_id=trajectory.trajectory_id,
        kind="proxy",
        streams=warehouse.stream(manifest.dataset),
        manifest=manifest,
        model=task.proxy.model() if task.base is None else str(task.base),
        controller=ReplayController(trajectory.mixtures_TN),
        plan=PlanSettings(
            step_samples=task.step_samples,
            batch_size=training.batch_size,
            seed=order_seed(trajectory.trajectory_id, seed=training.seed),
            exhaustion="redistribute",
        ),
        steps=len(trajectory.mixtures_TN) - 1,
        training=training,
        environment=task.environment,
        optimizer=None if task.base is None else task.base / OPTIMIZER_FILE,
        keep_checkpoints=False,
    )


def order_seed(trajectory_id: str, *, seed: int) -> int:
    """Seed of the sample order of one proxy: other samples for each, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{trajectory_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def use_one_thread() -> None:
    """For a process that shares the cores with other proxies.

    Two torch threads on two busy cores were seen to be ten times slower than one thread each.
    """
    torch.set_num_threads(1)
