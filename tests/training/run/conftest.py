"""A run of five steps, and the unbroken one that others are compared with."""

import dataclasses

import pytest
import yaml
from tests.training.run.runs import Swinging

from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.config import make_config
from dmix.training.run.request import RunRequest
from dmix.training.run.run import train
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory, whole_job):
    """Folder and summary of the unbroken run that others are compared with."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(whole_job, folder=folder)


@pytest.fixture
def job(whole_job):
    return dataclasses.replace(whole_job, controller=Swinging())


@pytest.fixture(scope="session")
def whole_job(tiny_warehouse, tiny_model, fast_training, environment):
    return TrainingJob(
        run_id="r",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=tiny_model,
        controller=Swinging(),
        plan=PlanSettings(step_samples=32, batch_size=8, exhaustion="redistribute"),
        steps=5,
        training=fast_training,
        environment=environment,
    )


@pytest.fixture
def model_file(tmp_path, tiny_model):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    return path


@pytest.fixture
def configure(tiny_warehouse, model_file, environment_file):
    def make(*, request=None, **values):
        values = {
            "model": str(model_file),
            "controller": "natural",
            "training": TrainingSettings(batch_size=8),
            "environment": environment_file,
            **values,
        }
        return make_config(tiny_warehouse, request or RunRequest(steps=5), **values)

    return make
