"""What `dmix mix probe` measures, by which way, and how its effects are shown."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.cli.workflows.effects import probe as module
from dmix.cli.workflows.effects.probe import MOVED, effects_result, probe_effects
from dmix.mixing.effects.effects import Effects
from dmix.warehouse_schema.errors import InputError


@pytest.fixture
def unchecked(monkeypatch):
    for name in ("check_dataset", "check_environment", "check_kept_out", "check_model"):
        monkeypatch.setattr(module, name, lambda *_, **__: None)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"export_to": "a", "scores": "b"}, "--export and --scores"),
        ({"estimator": "gradient"}, "--estimator gradient needs a model"),
        ({"estimator": "probe"}, "--estimator probe needs a model"),
    ],
)
def test_what_does_not_go_together_is_refused(unchecked, given, named):
    with pytest.raises(InputError, match=named):
        probe_effects(None, environment=None, progress=str, **given)


def test_a_dry_run_of_counts_names_the_tokens_of_the_dataset(unchecked, tiny_warehouse, environment_file):
    result = probe_effects(tiny_warehouse, environment=environment_file, dry_run=True, progress=str)
    # 216 samples of 16 tokens
    assert result.facts == {"estimator": "counts", "runs": 0, "tokens_read": 3456, "tokens_trained": 0}


@pytest.mark.parametrize(
    ("estimator", "measure"), [("gradient", "gradients.probe_gradients"), ("probe", "probes.probe_runs")]
)
def test_each_estimator_has_its_measurement(monkeypatch, estimator, measure):
    monkeypatch.setattr(f"dmix.cli.workflows.effects.{measure}", lambda *_, **__: measure)
    monkeypatch.setattr(module, "_stored_result", lambda warehouse, stored, progress: stored)
    assert module._measured(None, None, estimator, dry_run=False, progress=str) == measure


def test_domains_come_by_how_much_they_help_and_without_text_not_at_all():
    effects = Effects(
        name="c",
        estimator="probe",
        dataset="d",
        environment="e",
        names=(("source", "a"), ("source", "b"), ("target", "a"), ("target", "b")),
        natural_N=np.array([0.5, 0.25, 0.25, 0.0]),
        objectives=("keep", "learn"),
        roles=("general", "target"),
        effect_ND=np.array([[1.0, -2.0], [-1.0, 1.0], [-1.0, 3.0], [0.0, 0.0]]),
        errors=(np.full((1, 4), 0.01), np.diag([9.0, 9.0, 9.0, 0.0])),
    )
    environment = SimpleNamespace(weights_D=np.array([0.5, 0.5]))
    result = effects_result(SimpleNamespace(name="c", effects=effects, environment=environment))
    rows = result.df()
    assert list(zip(rows["field"], rows["domain"], strict=True)) == [
        ("target", "a"),
        ("source", "b"),
        ("source", "a"),
    ]
    assert list(rows["learn"]) == pytest.approx([3 * MOVED, MOVED, -2 * MOVED])
    assert len(result.facts["effects"]) == 3
    assert list(result.df(1)["beyond noise"]) == ["yes", "no"]
    assert "--probe c" in repr(result)
