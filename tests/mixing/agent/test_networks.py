"""Actor and critic of the paper's agent."""

import torch

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.networks import DirichletPolicy, MixtureCritic

AGENT = {
    "labels": ["a", "b", "c"],
    "objectives": ["general"],
    "hidden_size": 16,
    "feedforward": 32,
    "heads": 2,
    "context": 8,
}


def test_paper_critic_is_bounded_and_sees_mixtures_alone():
    config = MixingAgentConfig(**{**AGENT, "preset": "paper"})
    critic = MixtureCritic(config)
    tokens = torch.rand(2, 3, config.token_width)
    other = tokens.clone()
    other[..., 6:] += 1  # feedback
    mixtures = torch.rand(2, 3, 4, 6)
    values = critic(tokens, mixtures)
    assert ((values > 0) & (values < 1)).all()
    torch.testing.assert_close(critic(other, mixtures), values)


def test_critic_reads_feedback_and_is_causal_in_default():
    torch.manual_seed(0)
    config = MixingAgentConfig(**AGENT)
    critic, policy = (
        MixtureCritic(config),
        DirichletPolicy(MixingAgent(config), torch.ones(6, dtype=torch.bool)),
    )
    tokens = torch.rand(1, 3, config.token_width)
    other = tokens.clone()
    other[:, 2, 6] += 1  # feedback of the last state
    mixtures = torch.rand(1, 3, 1, 6)
    changed = (critic(other, mixtures) - critic(tokens, mixtures)).abs()[0, :, 0]
    assert changed[:2].max() < 1e-6 < changed[2]
    torch.testing.assert_close(policy.mean(tokens), policy.agent(tokens, torch.ones(1, 6, dtype=torch.bool)))
