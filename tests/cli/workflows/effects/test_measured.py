"""What a user asks of effects that are measured on a model."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.effects import measured as module
from dmix.cli.workflows.effects.measured import Measured, ProbeRequest
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError


def request(**changes):
    return ProbeRequest(environment=Path("e.yaml"), model="m", training=TrainingSettings(), **changes)


@pytest.mark.parametrize("hours", [0.0, -1.0, math.inf, math.nan])
def test_hours_are_a_number_above_0(hours):
    with pytest.raises(InputError, match="--max-hours"):
        request(max_hours=hours)


def test_no_limit_is_a_limit_of_its_own():
    assert request().max_hours is None and request(max_hours=0.5).max_hours == 0.5


def test_names_follow_objectives_model_and_run(monkeypatch):
    monkeypatch.setattr(module, "model_digest", lambda model: f"digest of {model}")
    monkeypatch.setattr(module, "stored_already", lambda *_, **__: None)

    def name(estimator="probe", *, digest="e", model="m", **asked):
        manifest = SimpleNamespace(dataset="d")
        found = Measured(
            warehouse=None,
            manifest=manifest,
            space=None,
            environment=None,
            digest=digest,
            model=model,
            model_name="m",
        )
        return found.already(estimator, request(**asked), str)[0]

    names = {name(), name("gradient"), name(digest="f"), name(model="n"), name(samples=64), name(samples=65)}
    assert len(names) == 6
    assert name(steps=4, groups=2) == name(), "how long it takes is no part of the question"
    assert name(name="mine") == "mine"
