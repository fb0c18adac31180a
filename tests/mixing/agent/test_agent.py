"""The agent: its size, its masks, causality, and its form on disk."""

import json
import logging

import numpy as np
import pytest
import torch

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig, MixtureEncoder
from dmix.mixing.agent.folders import agents, check_free
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import NVIDIA_26

SMALL = {"labels": ("a", "b"), "hidden_size": 16, "heads": 2, "feedforward": 32, "context": 5}


def small(**changes):
    torch.manual_seed(0)
    return MixingAgent(MixingAgentConfig(**{**SMALL, **changes})).eval()


def some_tokens(agent, count, seed=0):
    width = agent.config.token_width
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


ALL = np.ones(4, dtype=bool)


def test_agent_of_the_paper_has_212_million_parameters():
    agent = MixingAgent(MixingAgentConfig(labels=NVIDIA_26, objectives=["general", "math"], preset="paper"))
    # two layers of 4 * 256^2 + 3 * 256 * 1024 + 2 * 256, final norm 256, 54 * 256 + 256 in,
    # 256 * 52 + 52 out, 256 for the one id that transformers insists on
    assert agent.num_parameters() == 2 * 1_049_088 + 256 + 14_080 + 13_364 + 256
    assert 2.12e6 <= agent.num_parameters() < 2.13e6


def test_default_agent_is_little_larger():
    agent = MixingAgent(MixingAgentConfig(labels=NVIDIA_26, objectives=["general", "math"]))
    assert agent.config.token_width == 4 * 52 + 1 + 2
    assert 2.12e6 <= agent.num_parameters() < 2.2e6


def test_mixtures_are_on_the_simplex_of_the_active_domains():
    agent = small()
    tokens = torch.from_numpy(some_tokens(agent, 3))[None]
    active = torch.tensor([[True, False, True, True]])
    mixture = agent(tokens, active)
    assert mixture.shape == (1, 3, 4)
    assert mixture.sum(-1).detach().numpy() == pytest.approx(np.ones((1, 3)), abs=1e-6)
    assert (mixture[..., 1] == 0).all()
    assert (mixture[..., [0, 2, 3]] > 0).all()


def test_a_decision_does_not_see_later_tokens():
    agent = small()
    tokens = some_tokens(agent, 5)
    changed = tokens.copy()
    changed[3:] += 1
    active = torch.ones(1, 4, dtype=torch.bool)
    first, second = (agent(torch.from_numpy(t)[None], active)[0] for t in (tokens, changed))
    assert torch.equal(first[:3], second[:3])
    assert not torch.allclose(first[3:], second[3:])


def test_one_forward_pass_gives_what_a_run_computes_step_by_step():
    agent = small()
    tokens = some_tokens(agent, 5)
    at_once = agent(torch.from_numpy(tokens)[None], torch.ones(1, 4, dtype=torch.bool))[0]
    for length in range(1, 6):
        step = agent.next_mixture(tokens[:length], ALL)
        assert step.dtype == np.float64
        assert step == pytest.approx(at_once[length - 1].detach().numpy(), abs=1e-6)


def test_a_decision_looks_back_on_the_context_alone():
    agent = small()
    tokens = some_tokens(agent, 12)
    truncated = tokens.copy()
    truncated[:7] = 9
    assert np.array_equal(agent.next_mixture(tokens, ALL), agent.next_mixture(truncated, ALL))
    truncated[7] = 9
    assert not np.array_equal(agent.next_mixture(tokens, ALL), agent.next_mixture(truncated, ALL))


def test_a_critic_can_share_the_encoder_with_fewer_layers():
    config = MixingAgentConfig(**SMALL, objectives=["x"])
    encoder = MixtureEncoder(config, layers=1)
    assert len(encoder.decoder.layers) == 1
    assert encoder(torch.zeros(2, 3, config.token_width)).shape == (2, 3, 16)


def publish(warehouse, agent, name="first", **changes):
    return publish_agent(
        warehouse, agent=agent, name=name, stage="sft", notes=["Trained in a test."], **changes
    )


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def test_agent_comes_back_from_disk_with_the_same_decisions(warehouse):
    agent = small(objectives=["x"], scales=[0.25], set_name="set")
    folder = publish(warehouse, agent)
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    for found in (load_agent(warehouse, "first"), load_agent(warehouse, str(folder))):
        tokens = some_tokens(agent, 4)
        assert np.array_equal(found.next_mixture(tokens, ALL), agent.next_mixture(tokens, ALL))
        assert found.config.scales == [0.25]
    assert agents(warehouse) == ["first"]
    assert sorted(path.name for path in warehouse.root.iterdir()) == ["agents"]


def test_config_holds_what_the_catalog_shows(warehouse):
    agent = small(objectives=["x"], set_name="set", preset="paper")
    config = json.loads((publish(warehouse, agent) / "config.json").read_text())
    assert config["parameters"] == agent.num_parameters()
    assert (config["preset"], config["set_name"], config["stage"]) == ("paper", "set", "sft")
    assert (config["labels"], config["objectives"]) == (["a", "b"], ["x"])
    assert config["trained_at"].startswith("20")


def test_model_card_says_how_it_was_trained(warehouse):
    card = (publish(warehouse, small()) / "README.md").read_text()
    for part in ("# first", "Trained in a test.", "none (only mixtures)", "a, b", "--agent first"):
        assert part in card


def test_existing_agent_is_replaced_on_request_alone(warehouse):
    publish(warehouse, small())
    with pytest.raises(InputError, match=r"agent 'first' already exists .*--overwrite"):
        publish(warehouse, small())
    with pytest.raises(InputError, match="exists"):
        check_free(warehouse, name="first", overwrite=False)
    publish(warehouse, small(preset="paper"), overwrite=True)
    assert load_agent(warehouse, "first").config.preset == "paper"
    assert sorted(path.name for path in warehouse.root.iterdir()) == ["agents"]


def test_a_folder_with_something_else_is_refused(warehouse, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    folder = tmp_path / "else"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="agent"):
        load_agent(warehouse, str(folder))
    (folder / "config.json").write_text("{")
    with pytest.raises(InputError, match="agent"):
        load_agent(warehouse, str(folder))
