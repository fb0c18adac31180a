"""How much text gradients take: as much as the time, or the tokens, that a user gives."""

from pathlib import Path

import pytest

from dmix.cli.workflows.effects.gradients import _GRADIENT_SPARE, plan_gradients
from dmix.cli.workflows.effects.measured import Measured, ProbeRequest
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.model.estimate.speed import Speed
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def plan(tiny_warehouse, environment_file, tiny_model, monkeypatch):
    """Plans at a speed of a thousand tokens per second."""
    monkeypatch.setattr("dmix.training.model.estimate.measured.measure_speed", lambda *_: Speed(1000, 1000.0))
    manifest = read_dataset_manifest(tiny_warehouse)
    found = Measured(
        warehouse=tiny_warehouse,
        manifest=manifest,
        space=DomainSpace.of_dataset(manifest),
        environment=load_environment(environment_file),
        digest="e",
        model=tiny_model,
        model_name="m",
    )

    def make(**asked):
        training = TrainingSettings(batch_size=8)
        request = ProbeRequest(environment=Path("e"), model="m", training=training, **asked)
        return plan_gradients(found, request)

    return make


def test_hours_and_tokens_are_two_ways_to_say_the_same(plan):
    hours = 0.001
    by_time, by_tokens = plan(max_hours=hours), plan(tokens=hours * 3600 * 1000 * _GRADIENT_SPARE)
    assert by_time.budget == by_tokens.budget
    assert by_time.hours == pytest.approx(by_time.budget.tokens / 1000 / 3600 / _GRADIENT_SPARE)
    assert by_time.hours <= hours * 1.01


def test_more_time_is_more_text(plan):
    short, long = plan(max_hours=0.0005), plan(max_hours=0.01)
    assert short.budget.tokens < long.budget.tokens
    assert long.memory_bytes >= short.memory_bytes > 0


def test_time_for_hardly_any_text_is_refused(plan):
    with pytest.raises(InputError):
        plan(max_hours=1e-9)
