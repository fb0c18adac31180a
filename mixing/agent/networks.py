"""Actor and critic of CQL: small causal transformers over the same tokens (method §4, §5).

The actor is the `MixingAgent` with one more head, for the concentration of its Dirichlet distribution. The
critic is one decoder layer; its head reads the state and the mixture, so that a state is encoded
once however many mixtures are judged in it.

Shapes: B sequences, T states of each, X token width, H width, N domains, S mixtures a state.
"""

import copy
import math
from typing import cast

import torch
from torch import Tensor, nn

from dmix.mixing.agent.agent import Agent, MixingAgent, MixingAgentConfig, MixtureEncoder
from dmix.mixing.space.dirichlet import MixtureDistribution, bounded_concentration


class MixturePolicy(nn.Module):
    """An agent with a Dirichlet distribution around its mixture; subclasses say how states give the law.

    Args:
        agent: Its mixture is the mean of the law.
        active_N: Which domains have samples.
    """

    active_N: Tensor

    def __init__(self, agent: Agent, active_N: Tensor) -> None:
        super().__init__()
        self.agent = agent
        self.concentration = nn.Linear(agent.config.hidden_size, 1)
        nn.init.zeros_(self.concentration.weight)
        nn.init.zeros_(self.concentration.bias)
        self.register_buffer("active_N", active_N.clone())

    def mean(self, tokens_BTX: Tensor) -> Tensor:
        """The agent's mixture in every state, shape (B, T, N): what guided runs use."""
        return cast(Tensor, self.agent(tokens_BTX, self.active_N.expand(len(tokens_BTX), -1)))


class DirichletPolicy(MixturePolicy):
    """The paper's agent with a distribution around its softmax."""

    agent: MixingAgent

    def forward(self, tokens_BTX: Tensor) -> MixtureDistribution:
        """The distribution of the next mixture in every state, parameters of shape (B, T, A)."""
        hidden_BTH = self.agent.encoder(tokens_BTX)
        logits_BTN = self.agent.head(hidden_BTH).masked_fill(~self.active_N, float("-inf"))
        concentration_BT = bounded_concentration(self.concentration(hidden_BTH)[..., 0])
        return MixtureDistribution.of_mean(logits_BTN.softmax(-1), concentration_BT, self.active_N)


class MixtureCritic(nn.Module):
    """Q(s, rho): a decoder over the tokens of s, and a head over its state and rho.

    Args:
        config: Widths, those of the agent.
        layers: Its decoder layers.

    In `paper` the critic of Eq. 7 sees mixtures alone, and its head is a sigmoid.
    """

    def __init__(self, config: MixingAgentConfig, *, layers: int = 1) -> None:
        super().__init__()
        width = config.hidden_size
        self.bounded = config.preset == "paper"
        if self.bounded:
            config = copy.deepcopy(config)
            config.objectives = []
        self.columns = config.token_width
        self.encoder = MixtureEncoder(config, layers=layers)
        self.state = nn.Linear(width, width)
        # Mixtures have a norm of at most 1, spread over N inputs.
        self.mixture = nn.Linear(config.domains, width, bias=False)
        nn.init.normal_(self.mixture.weight, std=1.0)
        # One step of many moves the end of a run little, so its value is nearly linear in the mixture.
        self.slope = nn.Linear(width, config.domains)
        self.hidden = nn.Linear(width, width)
        self.out = nn.Linear(width, 1)
        nn.init.normal_(self.out.weight, std=0.1 / math.sqrt(width))
        nn.init.zeros_(self.out.bias)

    def states(self, tokens_BTX: Tensor) -> Tensor:
        """A vector for every state, shape (B, T, H)."""
        return cast(Tensor, self.state(self.encoder(tokens_BTX[..., : self.columns])))

    def values(self, states_BTH: Tensor, mixtures_BTSN: Tensor) -> Tensor:
        """Q of S mixtures in every state, shape (B, T, S)."""
        first = nn.functional.silu(states_BTH[..., None, :] + self.mixture(mixtures_BTSN))
        linear = torch.einsum("btn,btsn->bts", self.slope(states_BTH), mixtures_BTSN)
        value = linear + self.out(nn.functional.silu(self.hidden(first)))[..., 0]
        return torch.sigmoid(value) if self.bounded else value

    def forward(self, tokens_BTX: Tensor, mixtures_BTSN: Tensor) -> Tensor:
        """`values` of the states of these tokens."""
        return self.values(self.states(tokens_BTX), mixtures_BTSN)
