"""Actor and critic of CQL over sets, beside those of `dmix.mixing.agent.networks` and with their methods.

Shapes: B sequences, T states of each, X token width, H width, E width of a domain's state,
N domains, S mixtures a state.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from dmix.mixing.agent.networks import MixturePolicy
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig, SetEncoder
from dmix.mixing.space.dirichlet import MixtureDistribution, bounded_concentration


class SetPolicy(MixturePolicy):
    """The set agent with a distribution around its mixture."""

    agent: SetAgent

    def forward(self, tokens_BTX: Tensor) -> MixtureDistribution:
        """The distribution of the next mixture in every state, parameters of shape (B, T, A)."""
        state = self.agent.encoder(tokens_BTX, self.active_N.expand(len(tokens_BTX), -1))
        concentration_BT = bounded_concentration(self.concentration(state.run_BTH)[..., 0])
        return MixtureDistribution.of_mean(self.agent.mixtures(state), concentration_BT, self.active_N)


class SetCritic(nn.Module):
    """Q(s, rho) over sets: every domain has a vector in a state, and rho weighs them.

    Args:
        config: Widths, those of the agent.
        active_N: Which domains have samples.
        layers: Its decoder layers.
    """

    active_N: Tensor

    def __init__(self, config: SetAgentConfig, active_N: Tensor, *, layers: int = 1) -> None:
        super().__init__()
        width = config.hidden_size
        self.encoder = SetEncoder(config, layers=layers)
        self.state = nn.Linear(width, width)
        # Larger than usual, since a mixture spreads a norm of at most 1 over its domains.
        self.domain = nn.Linear(config.domain_width, width, bias=False)
        nn.init.normal_(self.domain.weight, std=1.0)
        # One step of many moves the end of a run little, so its value is nearly linear in the mixture.
        self.slope = nn.Linear(config.domain_width, 1)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        nn.init.normal_(self.out.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)
        self.register_buffer("active_N", active_N.clone())

    def states(self, tokens_BTX: Tensor) -> tuple[Tensor, Tensor]:
        """The vector of every state, (B, T, H), and the state of every domain in it, (B, T, N, E)."""
        state = self.encoder(tokens_BTX, self.active_N.expand(len(tokens_BTX), -1))
        return self.state(state.run_BTH), state.domains_BTNE

    def values(self, states: tuple[Tensor, Tensor], mixtures_BTSN: Tensor) -> Tensor:
        """Q of S mixtures in every state, shape (B, T, S)."""
        own_BTH, domains_BTNE = states
        # Weighed before they are widened: both are linear, and samples are fewer than domains.
        weighed_BTSE = torch.einsum("btsn,btne->btse", mixtures_BTSN, domains_BTNE)
        first = nn.functional.silu(own_BTH[:, :, None] + self.domain(weighed_BTSE))
        value = self.slope(weighed_BTSE) + self.out(nn.functional.silu(self.hidden(first)))
        return cast(Tensor, value[..., 0])

    def forward(self, tokens_BTX: Tensor, mixtures_BTSN: Tensor) -> Tensor:
        """`values` of the states of these tokens."""
        return self.values(self.states(tokens_BTX), mixtures_BTSN)
