"""Agents are not trained on half a farm without a word."""

from functools import partial
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.agents import learn
from dmix.cli.workflows.agents.learn import train_agent, unfinished_farm
from dmix.warehouse_schema.errors import LockHeldError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.locks import held_lock, is_held


def test_a_farm_with_some_feedback_is_called_unfinished(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    for folder, count in ((warehouse.trajectories("farm"), 5), (warehouse.feedback("farm"), 2)):
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"static-{number:04d}.parquet").touch()
    warning = unfinished_farm(warehouse, "farm")
    assert "2 of 5 trajectories" in warning
    assert "dmix mix collect --set farm" in warning


def test_farms_with_all_feedback_or_none_are_not(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    warehouse.trajectories("farm").mkdir(parents=True)
    (warehouse.trajectories("farm") / "static-0000.parquet").touch()
    assert unfinished_farm(warehouse, "farm") is None
    warehouse.feedback("farm").mkdir(parents=True)
    (warehouse.feedback("farm") / "static-0000.parquet").touch()
    assert unfinished_farm(warehouse, "farm") is None


def test_one_process_trains_an_agent(tmp_path, monkeypatch):
    warehouse = Warehouse.at(tmp_path)
    lock, held = warehouse.lock_of("agent", "a"), []

    def train(*_, **__):
        held.append(is_held(lock))
        raise KeyError("the training ends here")

    monkeypatch.setitem(learn.METHODS, "sft", SimpleNamespace(train=train))
    monkeypatch.setattr(learn, "check_set", lambda *_: None)
    monkeypatch.setattr(learn, "held_lock", partial(held_lock, timeout_seconds=0.0))
    asked = {"method": "sft", "set_names": "s", "agent_name": "a", "settings": None, "progress": print}
    with pytest.raises(KeyError):
        train_agent(warehouse, **asked)
    assert held == [True] and not is_held(lock)
    with held_lock(lock, what="agent a"), pytest.raises(LockHeldError, match="agent a is locked by"):
        train_agent(warehouse, **asked)
    assert held == [True]
