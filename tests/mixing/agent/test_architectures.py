"""What goes with each kind of agent."""

import json

import pytest
import torch

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.architectures import arguments_of, config_of, new_agent, new_critic, new_policy
from dmix.mixing.agent.networks import DirichletPolicy, MixtureCritic
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_networks import SetCritic, SetPolicy

SMALL = {"hidden_size": 16, "heads": 2, "feedforward": 32, "objectives": ["x"], "scales": [0.1]}
PAPER = MixingAgentConfig(labels=["a", "b"], **SMALL)
SETS = SetAgentConfig(domain_width=8, spaces=[{"set": "s", "domains": 4, "active": 4}], **SMALL)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [(PAPER, (MixingAgent, DirichletPolicy, MixtureCritic)), (SETS, (SetAgent, SetPolicy, SetCritic))],
)
def test_every_kind_of_agent_has_its_networks(config, kinds):
    active = torch.ones(4, dtype=torch.bool)
    agent = new_agent(config)
    found = agent, new_policy(agent, active), new_critic(config, active)
    assert tuple(type(network) for network in found) == kinds


@pytest.mark.parametrize("config", [PAPER, SETS])
def test_a_config_comes_back_from_its_arguments(config):
    again = config_of(json.loads(json.dumps(arguments_of(config))))
    assert type(again) is type(config)
    assert again.to_dict() == config.to_dict()


def test_arguments_without_a_kind_are_the_papers():
    assert config_of({"labels": ["a"]}).fixed_space
