"""What is decided around the runs of a checked plan; no run is made here."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.effects.checked_plan import check_task, round_probes, round_task
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse

MODEL = "architecture: llama\nconfig: {hidden_size: 16}\n"


class Linear:
    """A prediction whose gain of a domain is its slope, whatever the mixture."""

    def __init__(self, *slopes):
        self.slope_ND = np.array(slopes, float)[:, None]

    def gradient(self, mixture_N):
        return self.slope_ND


@pytest.fixture
def planned():
    manifest = dataset_manifest([400, 100, 400, 100])
    space = DomainSpace.of_dataset(manifest)
    return SimpleNamespace(
        manifest=manifest,
        space=space,
        total=1000,
        max_passes=3,
        objectives=SimpleNamespace(weights_D=np.ones(1), scales_D=np.ones(1)),
        plan=SimpleNamespace(mixture_N=space.natural_N),
    )


@pytest.fixture
def task(planned, tmp_path):
    (tmp_path / "model.yaml").write_text(MODEL)
    return check_task(
        Warehouse.at(tmp_path / "w"),
        planned,
        model=str(tmp_path / "model.yaml"),
        training=TrainingSettings(batch_size=8),
    )


def test_a_check_run_has_sixteen_steps_of_whole_batches(task):
    assert (task.steps, task.step_samples, task.max_passes) == (16, 56, 3)  # 1000 / 16 = 62 samples
    assert task.model.architecture == "llama"


def test_a_probe_of_the_second_round_is_a_quarter_of_a_check_run(task):
    assert round_task(task).samples == task.samples / 4


def test_a_model_that_is_not_there_is_named(planned, tmp_path):
    with pytest.raises(NotFoundError, match=r"none\.yaml"):
        check_task(
            Warehouse.at(tmp_path), planned, model="none.yaml", training=TrainingSettings(batch_size=8)
        )


def test_the_domain_that_matters_most_is_probed_first(planned, task):
    probes = round_probes(planned, Linear(0.1, 0.0, 3.0, 0.0), round_task(task))
    domains = [probe.domains[0] for probe in probes if probe.domains]
    assert domains[0] == 2
    for probe in probes:
        assert probe.mixture_N.sum() == pytest.approx(1)


def test_a_second_round_without_a_domain_to_probe_is_refused(planned, task):
    huge = SimpleNamespace(samples=10**9)
    with pytest.raises(InputError, match="lower --samples"):
        round_probes(planned, Linear(1, 1, 1, 1), huge)
