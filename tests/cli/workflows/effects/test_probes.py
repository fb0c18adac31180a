"""Probes that fit the time, and effects from their scores."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.manifests import dataset_manifest

from dmix.cli.workflows.effects.measured import Measured, ProbeRequest
from dmix.cli.workflows.effects.probes import fitted_effects, plan_probes
from dmix.mixing.effects.probes import controls_of
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.estimate.speed import Speed
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def found(tmp_path, monkeypatch):
    """Four domains of 400 samples of 8 tokens, on a machine of 1000 tokens per second."""
    monkeypatch.setattr("dmix.training.model.estimate.measured.measure_speed", lambda *_: Speed(500, 1000.0))
    manifest = dataset_manifest([400] * 4)
    return Measured(
        warehouse=Warehouse.at(tmp_path),
        manifest=manifest,
        space=DomainSpace.of_dataset(manifest),
        environment=SimpleNamespace(names=("o",), roles=("target",)),
        digest="e",
        model="m",
        model_name="m",
    )


def plan(found, **asked):
    training = TrainingSettings(batch_size=8)
    return plan_probes(found, ProbeRequest(environment=Path("e"), model="m", training=training, **asked))


def test_a_probe_is_a_quarter_of_a_run(found):
    planned = plan(found, samples=16 * 16)
    assert (planned.task.steps, planned.task.step_samples) == (4, 16)
    groups = sum(bool(probe.domains) for probe in planned.probes)
    assert len(planned.probes) == groups + controls_of(groups)
    assert planned.run_equivalents == len(planned.probes) / 4
    assert planned.hours == pytest.approx(len(planned.probes) * 4 * 16 * 8 / 1000 / 3600)


def test_as_many_groups_as_fit_the_time(found):
    each = plan(found).hours / len(plan(found).probes)
    two = plan(found, max_hours=each * (2 + controls_of(2)) * 1.01)
    assert sum(bool(probe.domains) for probe in two.probes) == 2
    assert sum(bool(probe.domains) for probe in plan(found, groups=2).probes) == 2
    with pytest.raises(InputError, match=r"--max-hours .* is too low"):
        plan(found, max_hours=each)


def test_effects_of_a_linear_model_are_found_again(found):
    planned = plan(found)
    effect_N = np.array([1.0, -1.0, 0.5, -0.5])
    scores = {p.probe_id: np.array([-3 + p.mixture_N @ effect_N]) for p in planned.probes}
    effects, facts = fitted_effects(found, planned.probes, scores, name="p")
    np.testing.assert_allclose(effects.effect_ND[:, 0], effect_N, atol=0.05)
    assert effects.name == "p" and len(facts["probes"]) == len(planned.probes)
    controls = [row for row in facts["probes"] if not row["domains"]]
    assert controls and {row["dose"] for row in controls} == {0.0}


def test_doses_are_those_that_were_delivered(found):
    planned = plan(found)
    scores = {p.probe_id: np.zeros(1) for p in planned.probes}
    delivered = {p.probe_id: p.mixture_N for p in planned.probes}
    _, told = fitted_effects(found, planned.probes, scores, name="p", delivered=delivered)
    _, planned_doses = fitted_effects(found, planned.probes, scores, name="p")
    for row, wanted in zip(told["probes"], planned_doses["probes"], strict=True):
        assert row["dose"] == pytest.approx(wanted["dose"], abs=1e-6)
