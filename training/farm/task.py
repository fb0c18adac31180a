"""What all proxies of a farm share, and what follows from it for each; light, so that a plan is quick."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import Environment
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.variations import possible_variations, variation_of, varied_mixtures
from dmix.training.model.settings import ProxySettings, TrainingSettings


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


def asked_mixtures(task: ProxyTask, trajectory: Trajectory, *, space: DomainSpace) -> NDArray[np.float64]:
    """The mixtures that a proxy is asked to train on, shape (T, N): the trajectory's, or varied."""
    return varied_mixtures(
        trajectory.mixtures_TN,
        task.variation(trajectory.trajectory_id, space=space),
        trajectory_id=trajectory.trajectory_id,
        seed=task.proxy.seed,
        space=space,
    )


def plan_of(task: ProxyTask, trajectory: Trajectory, *, training: TrainingSettings) -> PlanSettings:
    """How the steps of one proxy are planned.

    With one pass, exhausted domains hand their share over (`redistribute`), as in a guided run under
    `stop`, but the run goes on to the end of the trajectory.

    Args:
        task: What the proxies share.
        trajectory: What it follows.
        training: Of this proxy, which may be varied.
    """
    return PlanSettings(
        step_samples=task.step_samples,
        batch_size=training.batch_size,
        seed=order_seed(trajectory.trajectory_id, seed=training.seed),
        exhaustion="redistribute" if task.max_passes == 1 else "repeat",
        max_passes=task.max_passes,
    )


def order_seed(trajectory_id: str, *, seed: int) -> int:
    """Seed of the sample order of one proxy: other samples for each, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{trajectory_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")
