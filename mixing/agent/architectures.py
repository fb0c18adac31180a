"""The two kinds of agents and what goes with each: config, agent, and actor and critic of CQL.

The paper's agent serves the domains of its training; the set agent any (`dmix.mixing.agent.set_agent`).
Configs tell them apart by `model_type`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dmix.mixing.agent.agent import Agent, MixingAgent, MixingAgentConfig
from dmix.mixing.agent.networks import DirichletPolicy, MixtureCritic
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_networks import SetCritic, SetPolicy

AGENTS: dict[str, type[Agent]] = {
    MixingAgentConfig.model_type: MixingAgent,
    SetAgentConfig.model_type: SetAgent,
}
# The actor, and a critic, of CQL for either kind.
Policy = DirichletPolicy | SetPolicy
Critic = MixtureCritic | SetCritic
_ARGUMENTS = (
    *("model_type", "labels", "objectives", "scales", "preset", "context", "hidden_size", "layers"),
    *("heads", "feedforward", "set_name", "target_supply", "initializer_range"),
)
_SET_ARGUMENTS = ("domain_width", "spaces", "effects")


def arguments_of(config: MixingAgentConfig) -> dict[str, Any]:
    """What `config_of` makes an equal config of, as JSON holds it."""
    names = _ARGUMENTS if config.fixed_space else (*_ARGUMENTS, *_SET_ARGUMENTS)
    return {name: getattr(config, name) for name in names}


def config_of(arguments: dict[str, Any]) -> MixingAgentConfig:
    """The config of these arguments; without a `model_type` that of the paper's agent."""
    given = dict(arguments)
    if given.pop("model_type", MixingAgentConfig.model_type) == SetAgentConfig.model_type:
        return SetAgentConfig(**given)
    return MixingAgentConfig(**given)


def new_agent(config: MixingAgentConfig) -> Agent:
    """An untrained agent."""
    return AGENTS[config.model_type](config)


class AgentSettings(Protocol):
    """What the settings of all trainings say about a new agent."""

    @property
    def architecture(self) -> str | None:
        """`paper` or `set`."""

    @property
    def widths(self) -> tuple[int, int]:
        """Width of the agent, and of its SwiGLU."""

    @property
    def context(self) -> int: ...
    @property
    def layers(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def domain_width(self) -> int: ...


def config_for(
    settings: AgentSettings,
    *,
    labels: Sequence[str],
    scales: Mapping[str, float],
    preset: str,
    set_name: str = "",
    target_supply: float = 0.0,
    spaces: Sequence[dict[str, Any]] = (),
) -> MixingAgentConfig:
    """The config of a new agent of the settings' architecture and widths.

    Args:
        settings: How it will be trained.
        labels: Labels of the domains; a set agent needs none.
        scales: s_i in nats per token, by objective.
        preset: `paper` or `default`.
        set_name: The set that it will be trained on.
        target_supply: |T| / (R * M) of that set.
        spaces: Entries of its training sets, for a set agent (`seen_space`).
    """
    hidden_size, feedforward = settings.widths
    shape: dict[str, Any] = {
        "objectives": list(scales),
        "scales": list(scales.values()),
        "preset": preset,
        "context": settings.context,
        "hidden_size": hidden_size,
        "feedforward": feedforward,
        "layers": settings.layers,
        "heads": settings.heads,
        "set_name": set_name,
    }
    if settings.architecture == "set":
        return SetAgentConfig(domain_width=settings.domain_width, spaces=list(spaces), **shape)
    return MixingAgentConfig(labels=list(labels), target_supply=target_supply, **shape)


def seeded_agent(config: MixingAgentConfig, *, seed: int) -> Agent:
    """An untrained agent whose weights depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return new_agent(config)


def new_policy(agent: Agent, active_N: Tensor) -> Policy:
    """The agent with a distribution around its mixture."""
    if isinstance(agent, SetAgent):
        return SetPolicy(agent, active_N)
    assert isinstance(agent, MixingAgent), "there are two kinds of agents"
    return DirichletPolicy(agent, active_N)


def new_critic(config: MixingAgentConfig, active_N: Tensor, *, layers: int = 1) -> Critic:
    """A critic that reads what an agent of this config reads."""
    if isinstance(config, SetAgentConfig):
        return SetCritic(config, active_N, layers=layers)
    return MixtureCritic(config, layers=layers)
