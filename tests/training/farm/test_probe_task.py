"""What probes share."""

from dataclasses import replace

import pytest

from dmix.training.farm.probe_task import ProbeTask
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


def test_a_probe_has_at_least_four_steps(tiny_warehouse, environment, tiny_model):
    task = ProbeTask(
        warehouse=tiny_warehouse,
        manifest=read_dataset_manifest(tiny_warehouse),
        environment=environment,
        model=tiny_model,
        training=TrainingSettings(batch_size=8),
        steps=4,
        step_samples=16,
    )
    assert (task.samples, task.tokens) == (64, 64 * 16)
    with pytest.raises(InputError, match="--steps is 3, expected at least 4"):
        replace(task, steps=3)
