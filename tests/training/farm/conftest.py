"""A task for proxies on the tiny warehouse, and a trajectory of four steps."""

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.store import Trajectory
from dmix.training.farm.task import ProxyTask
from dmix.training.model.settings import ProxySettings, TrainingSettings
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def space(tiny_warehouse):
    return DomainSpace.of_dataset(read_dataset_manifest(tiny_warehouse))


@pytest.fixture
def trajectory(space):
    mixtures_TN = np.stack([space.start_N, *[space.natural_N] * 3])
    return Trajectory(trajectory_id="static-0000", kind="static", top_k=None, mixtures_TN=mixtures_TN)


@pytest.fixture
def task(tiny_warehouse, environment, tiny_model):
    return ProxyTask(
        root=tiny_warehouse.root,
        set_name="farm",
        dataset="tiny",
        step_samples=16,
        environment=environment,
        proxy=ProxySettings(
            config=tiny_model.config, vary=0.0, training=TrainingSettings(batch_size=8, learning_rate=1e-3)
        ),
        base=None,
    )
