"""A base model: planned, trained, or found finished."""

from types import SimpleNamespace

import pytest

from dmix.cli.workflows.runs import base_model as module
from dmix.cli.workflows.runs.base_model import train_base_model
from dmix.training.run import base_model as training
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def called(monkeypatch):
    """Stands in for everything that trains; returns what was called."""
    calls = []
    monkeypatch.setattr(module, "check_dataset", lambda *_: None)
    monkeypatch.setattr(module, "check_model", lambda *_: None)
    monkeypatch.setattr(module, "run_plan", lambda *_, **given: calls.append(("plan", given)) or "plan")
    monkeypatch.setattr(module, "finish_run", lambda *_, **given: calls.append(("finish", given)) or "end")
    monkeypatch.setattr(training, "base_config", lambda *_, **given: SimpleNamespace(run_id="base-b"))
    monkeypatch.setattr(training, "train_base", lambda *_, **__: calls.append(("train", {})))
    return calls


def train(tmp_path, **given):
    return train_base_model(
        Warehouse.at(tmp_path), model="m.yaml", tokens=10, name="b", progress=str, **given
    )


def test_a_dry_run_plans_and_trains_nothing(called, tmp_path):
    assert train(tmp_path, dry_run=True, ranks=3) == "plan"
    assert called == [("plan", {"ranks": 3})]


@pytest.mark.parametrize(("started", "finished"), [(False, False), (True, False), (True, True)])
def test_a_finished_model_is_not_said_to_be_trained(called, tmp_path, monkeypatch, started, finished):
    monkeypatch.setattr(module, "has_started", lambda *_: started)
    monkeypatch.setattr(module, "run_summary", lambda *_: SimpleNamespace(finished=finished))
    assert train(tmp_path) == "end"
    assert called[0] == ("train", {}) and called[1][1]["trained"] == (not finished)


def test_a_name_that_cannot_be_a_folder_is_refused(called, tmp_path):
    with pytest.raises(InputError, match="cannot be a folder"):
        train_base_model(Warehouse.at(tmp_path), model="m", tokens=1, name="a/b", progress=str)
    assert called == []
