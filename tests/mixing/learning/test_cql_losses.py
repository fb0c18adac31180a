"""Losses of CQL on the simplex: terms worked by hand, a table for Q, and the policy's gradient."""

import copy
import math

import pytest
import torch
from d3rlpy.algos.qlearning.torch.cql_impl import CQLModules
from d3rlpy.models.builders import create_parameter
from d3rlpy.optimizers.optimizers import AdamFactory
from tests.mixing.learning.episode_batches import batch_of
from torch import nn

from dmix.mixing.learning.cql import SimplexCQLConfig
from dmix.mixing.learning.cql_losses import (
    EpisodeBatch,
    SimplexCQLImpl,
    backups,
    conservative_gap,
    departure,
)
from dmix.mixing.space.dirichlet import MixtureDistribution


class ConstantCritic(nn.Module):
    """Q = 3 everywhere."""

    def __init__(self):
        super().__init__()
        self.value = nn.Parameter(torch.tensor(3.0))

    def states(self, tokens):
        return tokens

    def values(self, states, mixtures):
        return self.value.expand(mixtures.shape[:-1])


class TableCritic(nn.Module):
    """A value for every state, whose number stands in the first column of its token."""

    def __init__(self, entries):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(entries))

    def states(self, tokens):
        return tokens[..., 0].long()

    def values(self, states, mixtures):
        return self.table[states][..., None].expand(mixtures.shape[:-1])


class SquareCritic(nn.Module):
    """Q = -|rho - (0.5, 0.3, 0.2)|^2, whatever the state."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(()))  # an optimiser wants a parameter

    def states(self, tokens):
        return tokens

    def values(self, states, mixtures):
        return self.unused - (mixtures - torch.tensor([0.5, 0.3, 0.2])).square().sum(-1)


class FixedPolicy(nn.Module):
    """One law with these logits in every state."""

    def __init__(self, logits, active_N, concentration=30.0):
        super().__init__()
        self.logits = nn.Parameter(logits)
        self.active_N, self.concentration = active_N, concentration

    def forward(self, tokens):
        shape = tokens.shape[:2]
        mean = self.mean(tokens)
        return MixtureDistribution.of_mean(mean, torch.full(shape, self.concentration), self.active_N)

    def mean(self, tokens):
        masked = self.logits.masked_fill(~self.active_N, float("-inf"))
        return masked.softmax(-1).expand(*tokens.shape[:2], -1)


def implementation(policy, critics, *, rate=0.05, **changes):
    def optimiser(module):
        return AdamFactory().create(module.named_modules(), lr=rate, compiled=False)

    config = SimplexCQLConfig(n_critics=len(critics), **{"tau": 1.0, **changes})
    q_funcs = nn.ModuleList(critics)
    modules = CQLModules(
        policy=policy,
        q_funcs=q_funcs,
        targ_q_funcs=copy.deepcopy(q_funcs),
        log_temp=create_parameter((1, 1), 0.0, device="cpu", enable_ddp=False),
        log_alpha=create_parameter((1, 1), 0.0, device="cpu", enable_ddp=False),
        actor_optim=optimiser(policy),
        critic_optim=optimiser(q_funcs),
        temp_optim=None,
        alpha_optim=None,
    )
    return SimplexCQLImpl(observation_shape=(1,), action_size=3, modules=modules, config=config, device="cpu")


def test_conservative_gap_by_hand():
    # log((e^1 + e^3) / 2) - 2
    gap = conservative_gap(torch.tensor([1.0, 3.0]), torch.tensor(2.0))
    assert gap.item() == pytest.approx(math.log((math.e + math.e**3) / 2) - 2, abs=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 30])
def test_gap_of_one_value_is_0_whatever_the_number_of_samples(samples):
    assert conservative_gap(torch.full((samples,), 3.0), torch.tensor(3.0)).item() == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.parametrize(("domains", "active"), [(2, 2), (6, 6), (6, 4), (52, 52), (52, 25)])
def test_conservative_term_of_a_constant_critic_is_0(domains, active):
    active_N = torch.arange(domains) < active
    batch = batch_of(
        [[0.5, 1.0], [2.0, 0.0]], lengths=[2, 1], ended=[True, False], domains=domains, active=active_N
    )
    policy = FixedPolicy(torch.randn(domains), active_N)
    made = implementation(policy, [ConstantCritic(), ConstantCritic()], conservative_weight=5.0)
    loss = made.compute_critic_grad(batch)
    assert loss.conservative_loss.item() == pytest.approx(0, abs=1e-5)
    # nothing pulls at the constant but the temporal difference
    assert loss.critic_loss.item() == pytest.approx(loss.td_loss.item(), abs=1e-5)


def test_backups_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    values = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    end = torch.tensor([[False, False, True]])
    # nothing beyond the terminal step; where an episode is cut there is still a value
    assert backups(rewards, values, end, discount=0.5).tolist() == [[1 + 10, 2 + 15, 4]]
    assert backups(rewards, values, torch.zeros_like(end), discount=0.5).tolist() == [[11, 17, 4 + 20]]


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_table_without_conservative_weight_fits_the_returns(discount):
    batch = batch_of(
        [[1.0, -2.0, 4.0], [0.5, 0.25, 0.0]], lengths=[3, 2], ended=[True, True], discount=discount
    )
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    made = implementation(
        policy,
        [TableCritic(8), TableCritic(8)],
        conservative_weight=0.0,
        gamma=discount,
        actor_delay=10_000,
    )
    for step in range(500):
        made.update(batch, step)
    found = made._data_values(batch)
    wanted = [[1 - 2 * discount + 4 * discount**2, -2 + 4 * discount, 4], [0.5 + 0.25 * discount, 0.25]]
    for critic in found:
        torch.testing.assert_close(critic[0], torch.tensor(wanted[0]), atol=1e-3, rtol=0)
        torch.testing.assert_close(critic[1, :2], torch.tensor(wanted[1]), atol=1e-3, rtol=0)


def test_potential_leaves_q_as_it_is():
    """A table of the utility at the end gives Q = final utility - U_t, the same as without."""
    rewards, level = [[1.0, -2.0, 4.0]], torch.tensor([[0.0, 1.0, -1.0, 3.0]])
    batch = batch_of(rewards, lengths=[3], ended=[True], potential=level)
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    made = implementation(policy, [TableCritic(4)], conservative_weight=0.0, actor_delay=10_000)
    for step in range(500):
        made.update(batch, step)
    torch.testing.assert_close(
        made._data_values(batch)[0, 0], torch.tensor([3.0, 2.0, 4.0]), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(made._modules.q_funcs[0].table[:3], torch.full((3,), 3.0), atol=1e-3, rtol=0)


def test_returns_of_a_cut_fragment_teach_nothing():
    batch = batch_of([[1.0, 1.0]], lengths=[2], ended=[False])
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    made = implementation(policy, [TableCritic(3)])
    assert made.fit_returns(batch)["returns_loss"] == 0
    assert made._modules.q_funcs[0].table.tolist() == [0, 0, 0]


def test_backup_is_the_largest_of_the_policy_s_mixtures_under_the_lowest_critic():
    batch = batch_of([[0.0, 0.0]], lengths=[2], ended=[False])
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool), concentration=5.0)
    low, high = SquareCritic(), ConstantCritic()
    made = implementation(policy, [low, high], backup_samples=10)
    torch.manual_seed(0)
    drawn = made._draw(batch)
    target = made.compute_target(batch, drawn)
    by_hand = low.values(None, drawn.mixtures_ESCN).max(-1).values[:, 1:]  # all below 3
    torch.testing.assert_close(target, by_hand)


def test_policy_gradient_matches_finite_differences():
    """E[Q] of a Dirichlet under Q = -|rho - goal|^2 in closed form, as a function of the logits."""
    active_N = torch.ones(3, dtype=torch.bool)
    logits = torch.tensor([0.3, -0.2, 0.5])
    goal = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def expected_loss(shifted):
        parameters = 30.0 * shifted.double().softmax(-1) + 1e-3
        total = parameters.sum()
        mean = parameters / total
        variance = mean * (1 - mean) / (total + 1)
        return ((mean - goal).square() + variance).sum().item()

    torch.manual_seed(0)
    policy = FixedPolicy(logits.clone(), active_N)
    made = implementation(policy, [SquareCritic(), SquareCritic()])
    batch = batch_of([[0.0] * 200] * 200, lengths=[200] * 200, ended=[True] * 200)
    made.compute_actor_grad(batch)
    for index in range(3):
        shift = torch.zeros(3)
        shift[index] = 1e-2
        slope = (expected_loss(logits + shift) - expected_loss(logits - shift)) / 2e-2
        assert policy.logits.grad[index].item() == pytest.approx(slope, abs=1e-3)


def test_proximity_pulls_a_share_out_of_a_saturated_softmax():
    """The derivative of KL(from || to) by the logits of `to` is to - from, however small a share is."""
    logits = torch.tensor([-12.0, 0.0, -12.0], requires_grad=True)
    from_N = torch.tensor([0.5, 0.3, 0.2])
    departure(from_N, logits.softmax(-1)).backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(-1) - from_N, atol=1e-5, rtol=0)
    assert float(departure(from_N, from_N)) == 0


def test_actor_moves_to_the_best_mixture_and_stays_frozen_before():
    torch.manual_seed(0)
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool), concentration=500.0)
    made = implementation(policy, [SquareCritic()], conservative_weight=0.0, actor_delay=5)
    batch = batch_of([[0.0] * 4], lengths=[4], ended=[True])
    for step in range(5):
        made.update(batch, step)
    assert policy.logits.tolist() == [0, 0, 0]
    for step in range(5, 150):
        made.update(batch, step)
    torch.testing.assert_close(policy.logits.softmax(-1), torch.tensor([0.5, 0.3, 0.2]), atol=0.02, rtol=0)


def test_simulator_share_moves_the_policy_along_the_slopes_of_imagined_runs():
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool), concentration=300.0)
    impl = implementation(policy, [TableCritic(2), TableCritic(2)], simulator_share=1.0)
    logged = batch_of([[0.0, 0.0]], lengths=[2], ended=[True])
    grad_ETN = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    followed = logged.as_rollouts(torch.tensor([-1]), grad_ETN)
    strayed = logged.as_rollouts(torch.tensor([0]), -grad_ETN)
    loss = impl.compute_actor_grad(EpisodeBatch.joined([followed, strayed]))
    # mu_3 is c / 3 + 0.001 over c + 0.003, a third; runs that strayed do not count
    assert float(loss.simulator_gain) == pytest.approx(1 / 3)
    assert policy.logits.grad.tolist() == pytest.approx([1 / 9, 1 / 9, -2 / 9], abs=1e-4)


def test_imagined_steps_before_the_last_stray_one_teach_critics_nothing():
    logged = batch_of([[1.0, 2.0, 4.0]], lengths=[3], ended=[True])
    rollouts = logged.as_rollouts(torch.tensor([1]), torch.zeros(1, 3, 3))
    assert rollouts.learnt_ET.tolist() == [[False, True, True]]
    assert not rollouts.logged_E.any() and not rollouts.has_grad_E.any()


def test_targets_of_imagined_steps_are_their_returns():
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    impl = implementation(policy, [TableCritic(4), TableCritic(4)])
    batch = batch_of([[1.0, 2.0, 4.0]], lengths=[3], ended=[True]).as_rollouts(
        torch.tensor([0]), torch.zeros(1, 3, 3)
    )
    assert impl.compute_target(batch, impl._draw(batch)).tolist() == [[7.0, 6.0, 4.0]]
