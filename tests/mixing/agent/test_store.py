"""Agents on disk: whole or not at all."""

import errno
import os

import pytest
from safetensors import SafetensorError

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.warehouse_schema.errors import InputError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def agent():
    config = MixingAgentConfig(labels=("A", "B"), objectives=("o",), scales=(1.0,), context=4, hidden_size=64)
    return MixingAgent(config)


def test_an_agent_that_is_replaced_stays_where_the_disk_refuses_the_new_one(agent, tmp_path, monkeypatch):
    warehouse = Warehouse.at(tmp_path)
    publish_agent(warehouse, agent=agent, name="a", stage="sft", notes=["first"])
    with pytest.raises(InputError, match="--overwrite"):
        publish_agent(warehouse, agent=agent, name="a", stage="sft", notes=[])

    def full(*_, **__):
        raise SafetensorError('I/O error: Os { code: 28, kind: StorageFull, message: "No space left" }')

    def refuses(self, target):
        if target == warehouse.agent("a") and self.name == "new":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        return rename(self, target)

    rename = type(tmp_path).rename
    for place, fails in (("agent.save_pretrained", full), ("rename", refuses)):
        with monkeypatch.context() as patch:
            if place == "rename":
                patch.setattr(type(tmp_path), "rename", refuses)
            else:
                patch.setattr(agent, "save_pretrained", fails)
            with pytest.raises(StorageError, match="free some space"):
                publish_agent(warehouse, agent=agent, name="a", stage="rl", notes=[], overwrite=True)
        assert load_agent(warehouse, "a").config.stage == "sft"
        assert "first" in (warehouse.agent("a") / "README.md").read_text()
        assert [path.name for path in warehouse.agent("a").parent.iterdir()] == ["a"]
    publish_agent(warehouse, agent=agent, name="a", stage="rl", notes=[], overwrite=True)
    assert load_agent(warehouse, "a").config.stage == "rl"
