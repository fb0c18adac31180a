"""CQL on the simplex: terms worked by hand, a table for Q, and the policy's gradient."""

import copy
import io
import math

import pytest
import torch
from d3rlpy.algos.qlearning.torch.cql_impl import CQLModules
from d3rlpy.models.builders import create_parameter
from d3rlpy.optimizers.optimizers import AdamFactory
from torch import nn

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.networks import DirichletPolicy, MixtureCritic
from dmix.mixing.learning.cql import SimplexCQLConfig
from dmix.mixing.learning.cql_impl import FragmentBatch, SimplexCQLImpl, conservative_gap, n_step_targets
from dmix.mixing.offline.episodes import returns_to_go
from dmix.mixing.space.dirichlet import MixtureLaw


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
        return MixtureLaw.of_mean(mean, torch.full(shape, self.concentration), self.active_N)

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


def batch_of(rewards, *, lengths, ended, domains=3, active=None, potential=None, discount=1.0):
    """Episodes whose token numbers their states."""
    rewards = torch.tensor(rewards)
    episodes, steps = rewards.shape
    made = torch.arange(steps) < torch.tensor(lengths)[:, None]
    terminal = torch.zeros(episodes, steps, dtype=torch.bool)
    for row, (length, end) in enumerate(zip(lengths, ended, strict=True)):
        terminal[row, length - 1] = end
    active = torch.ones(domains, dtype=torch.bool) if active is None else active
    actions = torch.zeros(episodes, steps, domains)
    actions[..., active] = 1 / int(active.sum())
    numbers = torch.arange(episodes * (steps + 1), dtype=torch.float32).reshape(episodes, steps + 1, 1)
    return FragmentBatch(
        tokens_ESX=numbers,
        potential_ES=torch.zeros(episodes, steps + 1) if potential is None else potential,
        actions_ETN=actions,
        rewards_ET=rewards * made,
        returns_ET=returns_to_go(rewards * made, discount=discount),
        made_ET=made,
        terminal_ET=terminal,
        ended_E=terminal.any(1),
        logged_E=torch.ones(episodes, dtype=torch.bool),
        learnt_ET=made,
        slopes_ETN=torch.zeros_like(actions),
        sloped_E=torch.zeros(episodes, dtype=torch.bool),
    )


def test_conservative_gap_by_hand():
    # log((e^1 + e^3) / 2) - 2
    gap = conservative_gap(torch.tensor([1.0, 3.0]), torch.tensor(2.0))
    assert gap.item() == pytest.approx(math.log((math.e + math.e**3) / 2) - 2, abs=1e-6)
    # with densities 2 and 1/2: log((e/2 + 2 e^3) / 2) - 2
    log_density = torch.tensor([math.log(2), -math.log(2)])
    weighted = conservative_gap(torch.tensor([1.0, 3.0]), torch.tensor(2.0), log_density)
    assert weighted.item() == pytest.approx(math.log((math.e / 2 + 2 * math.e**3) / 2) - 2, abs=1e-6)


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


def test_importance_weights_leave_the_mean_of_exp_q_unchanged():
    """E_law[e^Q / density] is the uniform mean of e^Q: 2 (e - 1) / e for Q = log 2 - x on two domains."""
    torch.manual_seed(0)
    law = MixtureLaw(torch.tensor([1.5, 2.0], dtype=torch.float64), torch.ones(2, dtype=torch.bool))
    drawn = law.sample(200_000)
    gap = conservative_gap(math.log(2) - drawn[:, 0], torch.tensor(0.0), law.log_density(drawn))
    assert gap.exp().item() == pytest.approx(2 * (math.e - 1) / math.e, rel=0.01)


def test_n_step_targets_by_hand():
    rewards = torch.tensor([[1.0, 2.0, 4.0]])
    values = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    made = torch.ones(1, 3, dtype=torch.bool)
    end = torch.tensor([[False, False, True]])
    one = n_step_targets(rewards, values, made, end, discount=0.5, steps=1)
    assert one.tolist() == [[1 + 10, 2 + 15, 4]]  # nothing beyond the terminal step
    two = n_step_targets(rewards, values, made, end, discount=0.5, steps=2)
    assert two.tolist() == [[1 + 1 + 7.5, 2 + 2, 4]]
    cut = n_step_targets(rewards, values, made, torch.zeros_like(end), discount=0.5, steps=2)
    assert cut.tolist() == [[1 + 1 + 7.5, 2 + 2 + 10, 4 + 20]]  # a fragment's cut still has a value
    assert n_step_targets(rewards, values, made, end, discount=1.0, steps=9).tolist() == [[7, 6, 4]]


def test_n_step_targets_stop_at_the_end_of_a_shorter_episode():
    rewards = torch.tensor([[1.0, 0.0, 0.0]])
    values = torch.tensor([[5.0, 6.0, 7.0, 8.0]])
    made = torch.tensor([[True, False, False]])
    cut = n_step_targets(rewards, values, made, torch.zeros_like(made), discount=1.0, steps=2)
    assert cut[0, 0].item() == 1 + 6


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_table_without_conservative_weight_fits_the_returns(steps, discount):
    batch = batch_of(
        [[1.0, -2.0, 4.0], [0.5, 0.25, 0.0]], lengths=[3, 2], ended=[True, True], discount=discount
    )
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    made = implementation(
        policy,
        [TableCritic(8), TableCritic(8)],
        conservative_weight=0.0,
        gamma=discount,
        n_steps=steps,
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


AGENT = {
    "labels": ["a", "b", "c"],
    "objectives": ["general"],
    "hidden_size": 16,
    "feedforward": 32,
    "heads": 2,
    "context": 8,
}


def made_algorithm(**changes):
    config = SimplexCQLConfig(agent=AGENT, active=[True] * 5 + [False], **changes)
    made = config.create()
    made.create_impl((MixingAgentConfig(**AGENT).token_width,), 6)
    return made


def random_batch(width, domains=6):
    torch.manual_seed(1)
    batch = batch_of([[0.1, 0.2], [0.3, 0.4]], lengths=[2, 2], ended=[True, True], domains=domains)
    batch.actions_ETN[..., -1] = 0
    return FragmentBatch(**{**vars(batch), "tokens_ESX": torch.rand(2, 3, width)})


def test_divergence_target_raises_the_temperature_of_a_narrow_policy():
    made = made_algorithm(divergence_target=0.5, temp_learning_rate=0.1)
    batch = random_batch(made.impl._modules.policy.agent.config.token_width)
    first = made.update(batch)["temperature"]
    for _ in range(10):
        last = made.update(batch)
    assert last["divergence"] > 0.5
    assert last["temperature"] > first > 0


def test_weights_survive_d3rlpy_s_own_form():
    made = made_algorithm()
    width = MixingAgentConfig(**AGENT).token_width
    made.update(random_batch(width))
    stored = io.BytesIO()
    made.impl.save_model(stored)
    other = made_algorithm()
    other.impl.load_model(io.BytesIO(stored.getvalue()))
    tokens = torch.rand(2, 3, width)
    torch.testing.assert_close(other.impl.policy.mean(tokens), made.impl.policy.mean(tokens))
    lengths = torch.tensor([[3.0], [2.0]])
    best = made.impl.predict_best_action((tokens, lengths))
    torch.testing.assert_close(best[1], made.impl.policy.mean(tokens)[1, 1])
    assert (best[:, 5] == 0).all()


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


def test_simulator_share_moves_the_policy_along_the_slopes_of_imagined_runs():
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool), concentration=300.0)
    impl = implementation(policy, [TableCritic(2), TableCritic(2)], simulator_share=1.0)
    logged = batch_of([[0.0, 0.0]], lengths=[2], ended=[True])
    slopes_ETN = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    followed = logged.imagined(torch.tensor([-1]), slopes_ETN)
    strayed = logged.imagined(torch.tensor([0]), -slopes_ETN)
    loss = impl.compute_actor_grad(FragmentBatch.joined([followed, strayed]))
    # mu_3 is c / 3 + 0.001 over c + 0.003, a third; runs that strayed do not count
    assert float(loss.simulator_gain) == pytest.approx(1 / 3)
    assert policy.logits.grad.tolist() == pytest.approx([1 / 9, 1 / 9, -2 / 9], abs=1e-4)


def test_imagined_steps_before_the_last_stray_one_teach_critics_nothing():
    logged = batch_of([[1.0, 2.0, 4.0]], lengths=[3], ended=[True])
    imagined = logged.imagined(torch.tensor([1]), torch.zeros(1, 3, 3))
    assert imagined.learnt_ET.tolist() == [[False, True, True]]
    assert not imagined.logged_E.any() and not imagined.sloped_E.any()


def test_targets_of_imagined_steps_are_their_returns():
    policy = FixedPolicy(torch.zeros(3), torch.ones(3, dtype=torch.bool))
    impl = implementation(policy, [TableCritic(4), TableCritic(4)])
    batch = batch_of([[1.0, 2.0, 4.0]], lengths=[3], ended=[True]).imagined(
        torch.tensor([0]), torch.zeros(1, 3, 3)
    )
    assert impl.compute_target(batch, impl._draw(batch)).tolist() == [[7.0, 6.0, 4.0]]
