"""Actor and critic over sets: the methods of the paper's networks, equivariance, CQL with them."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_features import ObjectiveSpec
from dmix.mixing.agent.set_networks import SetCritic, SetPolicy
from dmix.mixing.space.domains import DomainSpace

CONFIG = {"hidden_size": 16, "heads": 2, "feedforward": 32, "domain_width": 8, "context": 8}


def made(space, *, runs=3, steps=5, seed=0):
    """Tokens (B, T, X) of random runs, and mixtures (B, T, S, N) to judge in them."""
    rng = np.random.default_rng(seed)
    objective_spec = ObjectiveSpec.of(np.array([0.5, 0.5]), ("general", "target"))
    context = RunContext(space=space, steps=10, supply_N=space.samples_N / 100, objective_spec=objective_spec)

    def mixtures(*shape):
        drawn = rng.dirichlet(np.ones(len(space)), shape) * space.active_N
        return drawn / drawn.sum(-1, keepdims=True)

    seen = [
        tokens(
            np.vstack([space.start_N, mixtures(steps - 1)]),
            rng.normal(size=(steps, 2)),
            context=context,
            preset="default",
        )
        for _ in range(runs)
    ]
    return torch.from_numpy(np.stack(seen)), torch.from_numpy(mixtures(runs, steps, 4)).float()


def space_of(*samples):
    return DomainSpace(tuple("abcdef"[: len(samples) // 2]), np.array(samples))


SPACE = space_of(50, 0, 30, 20, 70, 40)
ACTIVE = torch.tensor(SPACE.active_N)


def networks():
    torch.manual_seed(0)
    config = SetAgentConfig(**CONFIG, objectives=["x", "y"], scales=[0.1, 0.2])
    agent = SetAgent(config)
    torch.nn.init.normal_(agent.tilt.weight)
    return SetPolicy(agent, ACTIVE), SetCritic(config, ACTIVE)


def test_the_law_is_around_the_agents_mixture():
    policy, _ = networks()
    seen, _ = made(SPACE)
    distribution, mean = policy(seen), policy.mean(seen)
    assert mean.shape == (3, 5, 6)
    assert distribution.parameters.shape == (3, 5, 5)
    # at first the concentration is 100
    assert torch.allclose(distribution.parameters, 100 * mean[..., ACTIVE] + 1e-3)
    assert torch.equal(mean, policy.agent(seen, ACTIVE.expand(3, -1)))
    distribution.sample(2).square().sum().backward()
    assert policy.concentration.weight.grad is not None
    assert torch.isfinite(policy.agent.tilt.weight.grad).all()


def test_values_are_those_of_encoded_states_and_see_no_later_token():
    _, critic = networks()
    seen, judged = made(SPACE)
    values = critic(seen, judged)
    assert values.shape == (3, 5, 4)
    assert torch.equal(values, critic.values(critic.states(seen), judged))
    assert torch.allclose(critic(seen[:, :2], judged[:, :2]), values[:, :2], atol=1e-6)
    assert values.std(-1).min() > 1e-5


def test_a_value_does_not_depend_on_the_order_of_domains():
    _, critic = networks()
    order = np.array([2, 0, 1, 4, 5, 3])
    moved = DomainSpace(SPACE.labels, SPACE.samples_N[order])
    at = len(SPACE) * 8
    seen, judged = made(SPACE)
    step, domain, rest = seen[..., :9], seen[..., 9 : 9 + at], seen[..., 9 + at :]
    domain = domain.reshape(3, 5, 6, 8)[:, :, order].reshape(3, 5, at)
    values = critic(seen, judged)
    critic.active_N = torch.tensor(moved.active_N)
    assert torch.allclose(critic(torch.cat([step, domain, rest], -1), judged[..., order]), values, atol=1e-5)


def test_the_critic_learns_which_domains_are_worth_more():
    _, critic = networks()
    # in the target field larger domains are worth more
    worth = torch.tensor([0.0, 0, 0, 0.1, 1.0, 0.4])
    optimizer = torch.optim.Adam(critic.parameters(), lr=3e-3)
    seen, judged = made(SPACE, runs=16)
    for _ in range(100):
        loss = (critic(seen, judged) - judged @ worth).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    seen, judged = made(SPACE, runs=8, seed=1)
    wanted = judged @ worth
    error = (critic(seen, judged) - wanted).square().mean() / wanted.var()
    assert float(error) < 0.2


@pytest.mark.parametrize("samples", [(90, 40), (50, 20, 30, 20, 70, 40)])
def test_policy_and_critic_serve_other_spaces(samples):
    policy, critic = networks()
    space = space_of(*samples)
    policy.active_N = critic.active_N = torch.tensor(space.active_N)
    seen, judged = made(space)
    assert policy.mean(seen).shape == (3, 5, len(samples))
    assert critic(seen, judged).shape == (3, 5, 4)
