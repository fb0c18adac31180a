"""Losses of CQL on the simplex (method §5), inside d3rlpy's implementation of CQL.

Backup: the largest of S policy mixtures under the minimum of the target critics. Conservative
term: logsumexp over equal numbers of mixtures from pi(s), pi(s') and the uniform distribution, less the
log of their count, less Q(s, data). Densities are relative to the uniform distribution on the active
simplex.

Shapes: E episodes, T = transitions of the longest one (T + 1 states), K critics, S mixtures a
state, N domains.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from d3rlpy.algos.qlearning.torch.cql_impl import CQLImpl, CQLModules
from d3rlpy.algos.qlearning.torch.ddpg_impl import DDPGBaseActorLoss, DDPGBaseCriticLoss
from d3rlpy.dataclass_utils import asdict_as_float
from d3rlpy.torch_utility import eval_api, train_api
from d3rlpy.types import Shape
from torch import Tensor, nn

from dmix.mixing.offline.episodes import Episodes, RewardMap, returns_to_go
from dmix.mixing.space.dirichlet import MixtureDistribution, uniform_mixtures

if TYPE_CHECKING:
    from dmix.mixing.learning.cql import SimplexCQLConfig


@dataclass(frozen=True, kw_only=True, eq=False)
class EpisodeBatch:
    """Some episodes, in the unit of the critics.

    Attributes:
        tokens_ESX: Tokens of states 0 … T.
        potential_ES: U of every state, mapped; zeros where critics use none.
        actions_ETN, rewards_ET, returns_ET, valid_mask_ET, terminal_ET: As in `Episodes`; returns-to-go
            mean something in episodes that ended.
        ended_E: True where the run came to its end.
        logged_E: True for episodes of the farm, False for rollouts, whose mixtures the
            conservative term does not raise, and whose targets are their returns.
        learnt_ET: True where critics learn: every step of the farm, and those of rollouts
            after which the policy was followed.
        grad_ETN: Derivative of a rollout's return with respect to each of its mixtures.
        has_grad_E: True where `grad_ETN` was computed.
    """

    tokens_ESX: Tensor
    potential_ES: Tensor
    actions_ETN: Tensor
    rewards_ET: Tensor
    returns_ET: Tensor
    valid_mask_ET: Tensor
    terminal_ET: Tensor
    ended_E: Tensor
    logged_E: Tensor
    learnt_ET: Tensor
    grad_ETN: Tensor
    has_grad_E: Tensor

    @classmethod
    def of_episodes(
        cls, episodes: Episodes, *, mapping: RewardMap, discount: float, potential: bool
    ) -> "EpisodeBatch":
        """All episodes, mapped."""
        rewards_ET = mapping.rewards(episodes.rewards_ET, episodes.terminal_ET, discount=discount)
        rewards_ET = rewards_ET * episodes.valid_mask_ET
        level_ES = mapping.scale * episodes.utility_ES
        return cls(
            tokens_ESX=episodes.tokens_ESX,
            potential_ES=level_ES if potential else torch.zeros_like(level_ES),
            actions_ETN=episodes.actions_ETN,
            rewards_ET=rewards_ET,
            returns_ET=returns_to_go(rewards_ET, discount=discount),
            valid_mask_ET=episodes.valid_mask_ET,
            terminal_ET=episodes.terminal_ET,
            ended_E=episodes.terminal_ET.any(1),
            logged_E=torch.ones(len(episodes), dtype=torch.bool),
            learnt_ET=episodes.valid_mask_ET,
            grad_ETN=torch.zeros_like(episodes.actions_ETN),
            has_grad_E=torch.zeros(len(episodes), dtype=torch.bool),
        )

    def as_rollouts(self, stray_E: Tensor, grad_ETN: Tensor) -> "EpisodeBatch":
        """The same episodes as ones that no farm ran.

        Args:
            stray_E: Last step of each that was not the policy's own, -1 if all were.
            grad_ETN: Derivatives of their returns, of any value where a run strayed.
        """
        step_T = torch.arange(self.valid_mask_ET.shape[1])
        return dataclasses.replace(
            self,
            logged_E=torch.zeros_like(self.logged_E),
            learnt_ET=self.valid_mask_ET & (step_T >= stray_E[:, None]),
            grad_ETN=grad_ETN,
            has_grad_E=stray_E < 0,
        )

    @classmethod
    def joined(cls, batches: "Sequence[EpisodeBatch]") -> "EpisodeBatch":
        """Several batches of one length as one."""
        names = [f.name for f in dataclasses.fields(cls)]
        return cls(**{name: torch.cat([getattr(batch, name) for batch in batches]) for name in names})

    def rows(self, index: Tensor, *, device: str | torch.device = "cpu") -> "EpisodeBatch":
        """Some of the episodes, on a device."""
        values = {f.name: getattr(self, f.name)[index].to(device) for f in dataclasses.fields(self)}
        return EpisodeBatch(**values)


@dataclass(frozen=True)
class CriticLoss(DDPGBaseCriticLoss):
    """Parts of the critics' loss, summed over critics."""

    td_loss: Tensor
    conservative_loss: Tensor
    mean_value: Tensor


@dataclass(frozen=True)
class ActorLoss(DDPGBaseActorLoss):
    """Parts of the actor's loss."""

    divergence: Tensor
    simulator_gain: Tensor
    departure: Tensor


@dataclass(frozen=True, eq=False)
class _Drawn:
    """The policy in all states of a batch, and mixtures of it, shape (E, T + 1, C, N)."""

    distribution: MixtureDistribution
    mixtures_ESCN: Tensor


def conservative_gap(q_sampled_S: Tensor, q_data: Tensor) -> Tensor:
    """Soft maximum over sampled mixtures less the value of the logged one.

    log mean exp Q, so that a constant Q has gap 0 whatever the number of domains and samples.
    Kumar et al. 2020 (arXiv 2006.04779), Eq. 4, without importance weights.

    Args:
        q_sampled_S: Values of sampled mixtures, shape (..., S).
        q_data: Value of the logged mixture, shape (...).

    Returns:
        Shape (...), in the unit of Q.
    """
    return torch.logsumexp(q_sampled_S, dim=-1) - math.log(q_sampled_S.shape[-1]) - q_data


def departure(from_N: Tensor, to_N: Tensor) -> Tensor:
    """KL(from || to) in nats over the last axis.

    Its derivative by the logits of `to` is `to - from`: it pulls a share that fell too far back up, where
    the derivative of a value through the softmax is next to none.

    Args:
        from_N: Mixtures, shape (..., N).
        to_N: Mixtures, shape (..., N).

    Returns:
        Shape (...).
    """
    smallest = torch.finfo(to_N.dtype).tiny
    return nn.functional.kl_div(to_N.clamp_min(smallest).log(), from_N, reduction="none").sum(-1)


def backups(rewards_ET: Tensor, value_ES: Tensor, terminal_ET: Tensor, *, discount: float) -> Tensor:
    """r_t + g V(s_{t+1}), (E, T); V counts where an episode is cut, and not at a terminal state."""
    return rewards_ET + discount * value_ES[:, 1:] * (~terminal_ET).to(value_ES.dtype)


class SimplexCQLImpl(CQLImpl):
    """d3rlpy's CQL with our targets, conservative term and actor loss."""

    def __init__(
        self,
        *,
        observation_shape: Shape,
        action_size: int,
        modules: CQLModules,
        config: "SimplexCQLConfig",
        device: str,
    ) -> None:
        super().__init__(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=modules,
            # Critics are called directly: a state is encoded once for many mixtures.
            q_func_forwarder=None,
            targ_q_func_forwarder=None,
            gamma=config.gamma,
            tau=config.tau,
            alpha_threshold=0.0,
            conservative_weight=config.conservative_weight,
            n_action_samples=config.n_action_samples,
            soft_q_backup=False,
            max_q_backup=True,
            compiled=False,
            device=device,
        )
        self._config = config
        self._proximity = config.proximity
        self._simulator_share = config.simulator_share

    def serve(self, active_N: Tensor) -> None:
        """Turns the networks of a set agent to another domain space."""
        networks = (self._modules.policy, *self._modules.q_funcs, *self._modules.targ_q_funcs)
        for network in networks:
            network.active_N = active_N.to(self._device)

    def inner_update(self, batch: EpisodeBatch, grad_step: int) -> dict[str, float]:
        """Critics, then the actor unless it is frozen, then the target critics."""
        losses = self.update_critic(batch)
        if grad_step >= self._config.actor_delay:
            self._proximity = self._config.proximity_at(grad_step)
            self._simulator_share = self._config.simulator_share_at(grad_step)
            losses.update(self.update_actor(batch))
        self.update_critic_target()
        return losses

    @train_api
    def fit_returns(self, batch: EpisodeBatch) -> dict[str, float]:
        """The critics alone, towards returns-to-go of the episodes that ended."""
        self._modules.critic_optim.zero_grad()
        values_KET = self._data_values(batch)
        known_ET = batch.valid_mask_ET & batch.ended_E[:, None]
        loss = _mean((values_KET - batch.returns_ET).square().sum(0), known_ET)
        loss.backward()
        self._modules.critic_optim.step()
        self.update_critic_target()
        return {"returns_loss": float(loss.detach())}

    def compute_critic_grad(self, batch: EpisodeBatch) -> CriticLoss:
        """Gradients of the temporal-difference and the conservative loss."""
        self._modules.critic_optim.zero_grad()
        drawn = self._draw(batch)
        loss = self.compute_critic_loss(batch, self.compute_target(batch, drawn), drawn)
        loss.critic_loss.backward()
        return loss

    @torch.no_grad()
    def _draw(self, batch: EpisodeBatch) -> "_Drawn":
        """Mixtures of the policy in every state, for the backup and for the conservative term."""
        distribution = self._modules.policy(batch.tokens_ESX)
        number = max(self._config.backup_samples, self._config.n_action_samples)
        return _Drawn(distribution, distribution.sample(number))

    @torch.no_grad()
    def compute_target(self, batch: EpisodeBatch, drawn: "_Drawn") -> Tensor:
        """Targets of all transitions, shape (E, T)."""
        mixtures_ESCN = drawn.mixtures_ESCN[:, :, : self._config.backup_samples]
        if not self._config.backup_samples:
            mixtures_ESCN = self._modules.policy.mean(batch.tokens_ESX)[..., None, :]
        values_KESC = self._values(self._modules.targ_q_funcs, batch, mixtures_ESCN)
        value_ES = values_KESC.min(0).values.max(-1).values
        targets_ET = backups(batch.rewards_ET, value_ES, batch.terminal_ET, discount=self._config.gamma)
        return torch.where(batch.logged_E[:, None], targets_ET, batch.returns_ET)

    def compute_critic_loss(self, batch: EpisodeBatch, q_tpn: Tensor, drawn: "_Drawn") -> CriticLoss:
        """Squared error to the targets, and the conservative term with its fixed weight."""
        states_KETH = [critic.states(batch.tokens_ESX[:, :-1]) for critic in self._modules.q_funcs]
        data_KET = self._head(states_KETH, batch, batch.actions_ETN[..., None, :])[..., 0]
        td_loss = _mean((data_KET - q_tpn).square().sum(0), batch.learnt_ET)
        conservative = torch.zeros((), device=td_loss.device)
        if self._config.conservative_weight > 0:
            logged_ET = batch.valid_mask_ET & batch.logged_E[:, None]
            sampled_KETS = self._head(states_KETH, batch, self._contrast(batch, drawn))
            gap_KET = conservative_gap(sampled_KETS, data_KET)
            conservative = self._config.conservative_weight * _mean(gap_KET.sum(0), logged_ET)
        return CriticLoss(
            critic_loss=td_loss + conservative,
            td_loss=td_loss,
            conservative_loss=conservative,
            mean_value=_mean(data_KET.mean(0), batch.valid_mask_ET),
        )

    def compute_actor_grad(self, batch: EpisodeBatch) -> ActorLoss:
        """Gradients of minus the value of the policy's mixture."""
        self._modules.actor_optim.zero_grad()
        loss = self.compute_actor_loss(batch, self._modules.policy(batch.tokens_ESX[:, :-1]))
        loss.actor_loss.backward()
        return loss

    def compute_actor_loss(self, batch: EpisodeBatch, action: MixtureDistribution) -> ActorLoss:
        """-min_k Q_k(s, rho ~ pi), over the states of the data.

        With `simulator_share` = w, (1 - w) of that plus w times the first-order loss of rollouts that
        followed the policy: minus mu(s_t) . dG / d rho_t, G their return in a learned simulator.
        Later mixtures are held fixed in dG / d rho_t; where they are optimal, what they would
        change by is of second order (the envelope theorem). After Clavera et al. 2020 (arXiv
        2005.08068), who differentiate through the policy as well. Since dG / d rho_t holds near the
        rollout's mixtures alone, `proximity` times KL(rollout || mu(s_t)) is added: a mirror-descent
        step (Tomar et al. 2020, arXiv 2005.09814) with the arguments of KL exchanged, so that its
        derivative does not vanish where a share does. Rollouts follow the policy, so it moves no optimum.
        Over the actor's updates w rises and the proximity falls (`SimplexCQLConfig`).
        """
        values_KET1 = self._values(self._modules.q_funcs, batch, action.sample(1))
        loss_ET = -values_KET1[..., 0].min(0).values
        has_grad_ET = batch.valid_mask_ET & batch.has_grad_E[:, None]
        mean_ETN = action.mean()
        simulator_gain = _mean((mean_ETN * batch.grad_ETN).sum(-1), has_grad_ET)
        left = _mean(departure(batch.actions_ETN, mean_ETN), has_grad_ET)
        share = self._simulator_share
        simulated = simulator_gain - self._proximity * left
        return ActorLoss(
            actor_loss=(1 - share) * _mean(loss_ET, batch.valid_mask_ET) - share * simulated,
            divergence=_mean(action.divergence_from_uniform().detach(), batch.valid_mask_ET),
            simulator_gain=simulator_gain.detach(),
            departure=left.detach(),
        )

    def update_actor(self, batch: EpisodeBatch) -> dict[str, float]:
        """One step of the actor."""
        loss = self.compute_actor_grad(batch)
        self._modules.actor_optim.step()
        return asdict_as_float(loss)

    @torch.no_grad()
    def _contrast(self, batch: EpisodeBatch, drawn: "_Drawn") -> Tensor:
        """Equal numbers of mixtures from pi(s), pi(s') and the uniform distribution, shape (E, T, 3 C, N)."""
        number = self._config.n_action_samples
        drawn_ESCN = drawn.mixtures_ESCN[:, :, :number]
        uniform_ETCN = uniform_mixtures(
            (*batch.valid_mask_ET.shape, number), drawn.distribution.active_N, dtype=drawn_ESCN.dtype
        )
        return torch.cat([drawn_ESCN[:, :-1], drawn_ESCN[:, 1:], uniform_ETCN], dim=2)

    def _data_values(self, batch: EpisodeBatch) -> Tensor:
        """Q of the logged mixtures, shape (K, E, T)."""
        return self._values(self._modules.q_funcs, batch, batch.actions_ETN[..., None, :])[..., 0]

    def _values(self, critics: torch.nn.ModuleList, batch: EpisodeBatch, mixtures: Tensor) -> Tensor:
        """Q of mixtures (E, T or T + 1, S, N) in the states of the batch, shape (K, E, ., S)."""
        states = mixtures.shape[1]
        encoded = [critic.states(batch.tokens_ESX[:, :states]) for critic in critics]
        return self._head(encoded, batch, mixtures, critics=critics)

    def _head(
        self,
        states: list[Any],
        batch: EpisodeBatch,
        mixtures: Tensor,
        *,
        critics: torch.nn.ModuleList | None = None,
    ) -> Tensor:
        """Heads of all critics on encoded states, less the potential of the states."""
        chosen = self._modules.q_funcs if critics is None else critics
        values = [critic.values(state, mixtures) for critic, state in zip(chosen, states, strict=True)]
        level = batch.potential_ES[:, : mixtures.shape[1], None]
        return torch.stack(values) - level

    @eval_api
    @torch.no_grad()
    def policy_values(self, batch: EpisodeBatch) -> Tensor:
        """Q(s, pi(s)) of the policy's mean under the mean of the critics, shape (E, T)."""
        means_ETN = self._modules.policy.mean(batch.tokens_ESX[:, :-1])
        values: Tensor = self._values(self._modules.q_funcs, batch, means_ETN[..., None, :])[..., 0].mean(0)
        return values

    def inner_predict_best_action(self, x: tuple[Tensor, Tensor]) -> Tensor:
        """The policy's mean after padded prefixes: x = (tokens (B, T, X), lengths (B, 1))."""
        tokens_BTX, lengths_B1 = x
        means_BTN = self._modules.policy.mean(tokens_BTX)
        last_B = lengths_B1[:, 0].long() - 1
        return means_BTN[torch.arange(len(last_B)), last_B]


def _mean(values_ET: Tensor, valid_mask_ET: Tensor) -> Tensor:
    """Mean over the steps that were made."""
    return (values_ET * valid_mask_ET).sum() / valid_mask_ET.sum().clamp_min(1)
