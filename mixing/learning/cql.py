"""Conservative Q-learning on the simplex (Eq. 5-7), as an algorithm of d3rlpy.

Config and algorithm in d3rlpy's layers; the losses are in `dmix.mixing.learning.cql_losses`. Departs from
d3rlpy's CQL: Dirichlet policy with densities relative to the uniform distribution, no Lagrange multiplier
(its stock form falls to 0 in 52 dimensions), batches of whole episodes instead of single
transitions, since one causal pass gives all prefixes.
"""

import dataclasses
from typing import Any

import torch
from d3rlpy.algos.qlearning.base import QLearningAlgoBase
from d3rlpy.algos.qlearning.torch.cql_impl import CQLModules
from d3rlpy.base import LearnableConfig, register_learnable
from d3rlpy.constants import ActionSpace
from d3rlpy.models.builders import create_parameter
from d3rlpy.optimizers.lr_schedulers import CosineAnnealingLRFactory
from d3rlpy.optimizers.optimizers import AdamFactory
from d3rlpy.types import Shape
from torch import nn

from dmix.mixing.agent.architectures import config_of, new_agent, new_critic, new_policy
from dmix.mixing.learning.cql_losses import EpisodeBatch, SimplexCQLImpl

_LARGEST_GRADIENT = 1.0
# What the actor's last update has left of the proximity, and of the weight of the critics. Both fall
# geometrically: without any proximity the actor swings about an optimum, and where few nats are at stake
# the critics' errors would move it more than the simulators' slopes do.
_PROXIMITY_LEFT = 0.1
_CRITICS_LEFT = 0.01


@dataclasses.dataclass()
class SimplexCQLConfig(LearnableConfig):
    """Settings of the algorithm; `gamma` of the base class is the discount.

    Attributes:
        agent: Arguments of its config (`arguments_of`); the critic has its widths.
        critic: What differs from them in the critics' config, by name.
        active: Which domains have samples.
        actor_learning_rate: Of Adam.
        critic_learning_rate: Of Adam.
        conservative_weight: Fixed weight of the conservative term.
        n_action_samples: Mixtures from each of pi(s), pi(s') and the uniform distribution.
        backup_samples: Policy mixtures whose largest value is backed up; 0 takes the policy's mean.
        n_critics: Critics; their minimum is backed up.
        tau: Rate at which target critics follow.
        simulator_share: Share of the actor's gradient that comes from rollouts, at its first update.
        proximity: Penalty per nat of KL from the mixtures of rollouts to the actor's, at its first update.
        actor_delay: Updates with a frozen actor.
        actor_updates: Updates over which the actor's rate falls to 0 (cosine); 0 keeps it.
        critic_updates: The same for the critics, those towards returns included.
        critic_layers: Decoder layers of a critic.
    """

    agent: dict[str, Any] = dataclasses.field(default_factory=dict)
    critic: dict[str, Any] = dataclasses.field(default_factory=dict)
    active: list[bool] = dataclasses.field(default_factory=list)
    gamma: float = 1.0
    actor_learning_rate: float = 1e-4
    critic_learning_rate: float = 3e-4
    conservative_weight: float = 0.5
    n_action_samples: int = 10
    backup_samples: int = 10
    n_critics: int = 2
    tau: float = 0.005
    simulator_share: float = 0.0
    proximity: float = 0.0
    actor_delay: int = 0
    actor_updates: int = 0
    critic_updates: int = 0
    critic_layers: int = 1

    def proximity_at(self, grad_step: int) -> float:
        """Proximity at an update; a tenth of it is left at the end."""
        return self.proximity * _PROXIMITY_LEFT ** self._actor_done(grad_step)

    def simulator_share_at(self, grad_step: int) -> float:
        """Share of the rollouts at an update: it rises to nearly 1 unless it is 0."""
        critics = (1 - self.simulator_share) * _CRITICS_LEFT ** self._actor_done(grad_step)
        return self.simulator_share / (self.simulator_share + critics)

    def _actor_done(self, grad_step: int) -> float:
        """Share of the actor's updates made before this one; 0 where their number is not known."""
        if not self.actor_updates:
            return 0.0
        return min(1.0, max(0.0, (grad_step - self.actor_delay) / self.actor_updates))

    def create(self, device: Any = False, enable_ddp: bool = False) -> "SimplexCQL":
        return SimplexCQL(self, device, enable_ddp)

    @staticmethod
    def get_type() -> str:
        return "dmix_simplex_cql"


class SimplexCQL(QLearningAlgoBase[SimplexCQLImpl, SimplexCQLConfig]):
    """The algorithm; `update` takes a `EpisodeBatch`."""

    def inner_create_impl(self, observation_shape: Shape, action_size: int) -> None:
        """Networks with fresh weights; `observation_shape` is that of one token."""
        config = self._config
        active_N = torch.tensor(config.active)
        policy = new_policy(new_agent(config_of(config.agent)), active_N).to(self._device)
        critic_config = config_of({**config.agent, **config.critic})
        critics, targets = (
            nn.ModuleList(
                new_critic(critic_config, active_N, layers=config.critic_layers)
                for _ in range(config.n_critics)
            ).to(self._device)
            for _ in range(2)
        )
        self._impl = SimplexCQLImpl(
            observation_shape=observation_shape,
            action_size=action_size,
            modules=CQLModules(
                policy=policy,
                q_funcs=critics,
                targ_q_funcs=targets,
                # d3rlpy has a temperature and a multiplier; ours are constants that nothing reads
                log_temp=create_parameter((1, 1), 0.0, device=self._device, enable_ddp=False),
                log_alpha=create_parameter((1, 1), 0.0, device=self._device, enable_ddp=False),
                actor_optim=_optimiser(policy, config.actor_learning_rate, config.actor_updates),
                critic_optim=_optimiser(critics, config.critic_learning_rate, config.critic_updates),
                temp_optim=None,
                alpha_optim=None,
            ),
            config=config,
            device=self._device,
        )

    def update(self, batch: EpisodeBatch) -> dict[str, float]:
        """One gradient step of critics and actor; returns the parts of the losses."""
        assert self._impl is not None, "create_impl() comes first"
        losses = self._impl.update(batch, self._grad_step)
        self._grad_step += 1
        return losses

    def fit_returns(self, batch: EpisodeBatch) -> dict[str, float]:
        """One gradient step of the critics towards the returns of the data."""
        assert self._impl is not None, "create_impl() comes first"
        return self._impl.fit_returns(batch)

    def resume_at(self, grad_step: int) -> None:
        """Counts updates from `grad_step` on, after weights were loaded."""
        self._grad_step = grad_step

    def get_action_type(self) -> ActionSpace:
        return ActionSpace.CONTINUOUS


def _optimiser(module: nn.Module, rate: float, updates: int) -> Any:
    decay = CosineAnnealingLRFactory(T_max=updates) if updates else None
    factory = AdamFactory(clip_grad_norm=_LARGEST_GRADIENT, lr_scheduler_factory=decay)
    return factory.create(module.named_modules(), lr=rate, compiled=False)


register_learnable(SimplexCQLConfig)
