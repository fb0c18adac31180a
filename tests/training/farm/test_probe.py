"""Scores of probes: trained once, read afterwards."""

import numpy as np
import pytest

from dmix.mixing.effects.probes import Probe
from dmix.training.farm import probe as module
from dmix.training.farm.probe import ProbeScores, probe_scores
from dmix.training.farm.probe_task import ProbeTask
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

SCORES = ProbeScores(
    objectives=("a", "b", "a"),
    items=("1", "2", "3"),
    scores_I=np.array([-1.0, -2.0, -4.0]),
    delivered_N=np.array([0.1 + 0.2, 0.7]),
)


@pytest.fixture
def task(tiny_warehouse, environment, tiny_model):
    return ProbeTask(
        warehouse=tiny_warehouse,
        manifest=read_dataset_manifest(tiny_warehouse),
        environment=environment,
        model=tiny_model,
        training=TrainingSettings(batch_size=8),
        steps=4,
        step_samples=16,
    )


@pytest.fixture
def probe():
    return Probe(probe_id="probe-01", domains=(0,), dose=0.5, mixture_N=np.array([0.6, 0.4]))


def test_the_score_of_an_objective_is_the_mean_of_its_items():
    assert SCORES.means(("b", "a")).tolist() == [-2.0, -2.5]
    assert SCORES.table("p").to_pylist()[1] == {"probe": "p", "objective": "b", "item": "2", "score": -2.0}


def test_a_probe_is_trained_once_and_comes_back_exactly(task, probe, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_trained", lambda *_, **__: SCORES)
    first = probe_scores(task, probe, folder=tmp_path)
    monkeypatch.setattr(module, "_trained", pytest.fail)
    second = probe_scores(task, probe, folder=tmp_path)
    for found in (first, second):
        assert (found.objectives, found.items) == (SCORES.objectives, SCORES.items)
        assert np.array_equal(found.scores_I, SCORES.scores_I)
        assert np.array_equal(found.delivered_N, SCORES.delivered_N)


@pytest.mark.parametrize("content", [b"", b"PAR1", SCORES.table("p")])
def test_a_damaged_file_is_named(task, probe, tmp_path, content):
    path = tmp_path / "probe-01.parquet"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:  # without the shares that it was trained on
        module.pq.write_table(content, path)
    with pytest.raises(InputError, match=r"probe-01\.parquet is damaged .*remove this file"):
        probe_scores(task, probe, folder=tmp_path)
