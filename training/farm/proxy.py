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
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.variations import (
    OTHER_BASE,
    possible_variations,
    variation_of,
    varied_mixtures,
    varied_proxy,
)
from dmix.training.model.settings import ProxySettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.run.run import train
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

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
        other_bases: Folders of further base models, for some of the varied proxies.
        max_passes: Passes through each domain; 1 hands the share of an exhausted domain over.
    """

    root: Path
    set_name: str
    dataset: str
    step_samples: int
    environment: Environment
    proxy: ProxySettings
    base: Path | None
    other_bases: tuple[Path, ...] = ()
    max_passes: int = 1

    def variation(self, trajectory_id: str, *, space: DomainSpace) -> str:
        """How the proxy of a trajectory departs from the usual one."""
        possible = possible_variations(
            self.proxy, space=space, other_bases=[folder.name for folder in self.other_bases]
        )
        share = self.proxy.vary or 0.0
        return variation_of(trajectory_id, share=share, seed=self.proxy.seed, possible=possible)


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
            "trajectory %s: dataset %s ran out of samples after %d of %d steps",
            trajectory.trajectory_id,
            task.dataset,
            steps,
            wanted - 1,
        )
    variation = task.variation(trajectory.trajectory_id, space=space)
    return ProxyResult(scores_TD=filled_TD, planned_TN=planned_TN, variation=variation)


def asked_mixtures(task: ProxyTask, trajectory: Trajectory, *, space: DomainSpace) -> NDArray[np.float64]:
    """The mixtures that a proxy is asked to train on, shape (T, N): the trajectory's, or varied."""
    return varied_mixtures(
        trajectory.mixtures_TN,
        task.variation(trajectory.trajectory_id, space=space),
        trajectory_id=trajectory.trajectory_id,
        seed=task.proxy.seed,
        space=space,
    )


def proxy_job(task: ProxyTask, trajectory: Trajectory, *, warehouse: Warehouse) -> TrainingJob:
    """The run of one proxy.

    With one pass, exhausted domains hand their share over (`redistribute`), as in a guided run under
    `stop`, but the run goes on to the end of the trajectory.
    """
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
        plan=PlanSettings(
            step_samples=task.step_samples,
            batch_size=training.batch_size,
            seed=order_seed(trajectory.trajectory_id, seed=training.seed),
            exhaustion="redistribute" if task.max_passes == 1 else "repeat",
            max_passes=task.max_passes,
        ),
        steps=len(trajectory.mixtures_TN) - 1,
        training=training,
        environment=task.environment,
        optimizer=None if base is None else base / OPTIMIZER_FILE,
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
