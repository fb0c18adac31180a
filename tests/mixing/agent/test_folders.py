"""Folders of agents, by name."""

import pytest
import torch

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.folders import (
    agent_facts,
    agent_folder,
    agent_spec,
    check_free,
    check_labels,
    shipped_agents,
)
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.sizes import num_text

SMALL = {"labels": ("a", "b"), "hidden_size": 16, "heads": 2, "feedforward": 32, "context": 5}


def small(**changes):
    torch.manual_seed(0)
    return MixingAgent(MixingAgentConfig(**{**SMALL, **changes})).eval()


def publish(warehouse, agent, name="first", **changes):
    return publish_agent(
        warehouse, agent=agent, name=name, stage="sft", notes=["Trained in a test."], **changes
    )


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def test_missing_agent_lists_those_that_are_there(warehouse):
    publish(warehouse, small())
    with pytest.raises(NotFoundError, match=r"'other' does not exist\. .* has: first\. dmix has:"):
        load_agent(warehouse, "other")


def test_a_path_comes_before_a_name_and_a_name_before_what_dmix_has(warehouse, tmp_path, monkeypatch):
    shipped = shipped_agents()[0]
    assert agent_folder(warehouse, shipped).parent.name == "assets"
    publish_json(warehouse.agent(shipped) / "config.json", {})
    assert agent_folder(warehouse, shipped) == warehouse.agent(shipped)
    publish_json(tmp_path / "cwd" / shipped / "config.json", {})
    monkeypatch.chdir(tmp_path / "cwd")
    assert agent_folder(warehouse, shipped).absolute() == tmp_path / "cwd" / shipped


def test_the_default_stands_for_a_plan_unless_somebody_has_an_agent_of_its_name(warehouse):
    assert shipped_agents() == ["dmix-base", "dmix-base-1"]
    assert agent_spec(warehouse, "dmix-base") == "plan"
    assert agent_spec(warehouse, "dmix-base-1") == "agent:dmix-base-1"
    assert agent_folder(warehouse, "dmix-base").name == "dmix-base-1"  # a network of stored runs
    publish_json(warehouse.agent("dmix-base") / "config.json", {})
    assert agent_spec(warehouse, "dmix-base") == "agent:dmix-base"


def test_a_name_is_taken_until_it_may_be_replaced(warehouse):
    check_free(warehouse, name="first", overwrite=False)
    warehouse.agent("first").mkdir(parents=True)
    check_free(warehouse, name="first", overwrite=True)
    with pytest.raises(InputError, match=r"'first' already exists .*--overwrite"):
        check_free(warehouse, name="first", overwrite=False)


def test_facts_of_an_agent_need_no_weights_in_memory(warehouse):
    agent = small(objectives=["x"])
    publish(warehouse, agent)
    facts = agent_facts(warehouse, "first")
    assert (facts.labels, facts.objectives, facts.fixed_space, facts.effects) == (
        ("a", "b"),
        ("x",),
        True,
        False,
    )
    assert facts.parameters == agent.num_parameters()
    assert not agent_facts(warehouse, shipped_agents()[0]).fixed_space


def test_a_folder_without_labels_is_no_agent(warehouse):
    publish_json(warehouse.agent("odd") / "config.json", {"model_type": "llama"})
    with pytest.raises(InputError, match="no labels"):
        agent_facts(warehouse, "odd")


@pytest.mark.parametrize("labels", [("a",), ("b", "a"), ()])
def test_labels_of_another_dataset_are_refused(labels):
    check_labels(("a", "b"), wanted=("a", "b"), agent="x")
    with pytest.raises(InputError, match=f"has {num_text(len(labels), 'label')} "):
        check_labels(labels, wanted=("a", "b"), agent="x")
