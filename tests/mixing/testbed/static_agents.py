"""Agents that propose one mixture, whatever they read."""

import torch
from tests.mixing.testbed.simulated import SCALE

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig

CONFIG = {
    "labels": ["domain-0"],
    "objectives": ["general", "target"],
    "scales": [SCALE, SCALE],
    "hidden_size": 16,
    "feedforward": 32,
    "heads": 2,
    "layers": 1,
    "context": 5,
}


def static_agent(logits):
    """An agent that always says softmax(logits)."""
    torch.manual_seed(0)
    agent = MixingAgent(MixingAgentConfig(**CONFIG)).eval()
    with torch.no_grad():
        agent.head.weight.zero_()
        agent.head.bias.copy_(torch.tensor(logits))
    return agent
