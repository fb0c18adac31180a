"""What a run would take, told before it starts."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from dmix.cli.workflows.runs import plan as module
from dmix.cli.workflows.runs.plan import run_plan
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.config import make_config
from dmix.training.run.request import RunRequest


@pytest.fixture
def config(tiny_warehouse, tiny_model, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))
    return make_config(
        tiny_warehouse,
        RunRequest(steps=5, samples_per_step=16),
        model=str(path),
        controller="natural",
        training=TrainingSettings(batch_size=8),
        run_id="planned",
    )


def test_counts_follow_the_sizes_of_the_run(tiny_warehouse, config):
    facts = run_plan(tiny_warehouse, config, ranks=2, notes=["resuming from the beginning"]).facts
    assert (facts["batches"], facts["tokens"], facts["ranks"]) == (10, 5 * 16 * 16, 2)
    assert facts["microbatch_size"] == 4 and facts["hours"] > 0
    assert facts["memory_bytes"]["total"] > 4 * facts["parameters"]
    assert facts["notes"] == ["resuming from the beginning"]
    assert not tiny_warehouse.run("planned").exists()


def test_a_model_that_does_not_fit_here_has_no_hours(tiny_warehouse, config, monkeypatch):
    monkeypatch.setattr(module, "_fits", lambda *_, **__: False)
    result = run_plan(tiny_warehouse, config)
    assert result.facts["hours"] is None and "too large to estimate its speed" in repr(result)


def test_an_automatic_microbatch_is_worked_out(tiny_warehouse, config):
    automatic = replace(config, training=replace(config.training, microbatch_size="auto"))
    assert 1 <= run_plan(tiny_warehouse, automatic).facts["microbatch_size"] <= 8


def test_a_full_disk_is_told_in_the_plan(tiny_warehouse, config, monkeypatch):
    assert "would refuse" not in repr(run_plan(tiny_warehouse, config))
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    assert "dmix would refuse to start this run" in repr(run_plan(tiny_warehouse, config))
