"""An agent with random weights: what the architecture does before it has learnt anything.

The control of every comparison with a trained agent (method §7). It reads the labels and objectives of
the run; the seed draws its weights.
"""

import functools
from typing import TYPE_CHECKING

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.settings import MOST_SEED

if TYPE_CHECKING:
    from dmix.mixing.agent.agent import MixingAgent


class UntrainedController:
    """Proposes what a fresh agent says. Agents need torch, which is not imported before one is asked."""

    def __init__(self, seed: int = 0) -> None:
        self.name = f"untrained:{seed}"
        self._seed = seed

    @property
    def context(self) -> int:
        """Steps that an agent of the paper's size looks back on."""
        from dmix.mixing.agent.agent import MixingAgentConfig

        return MixingAgentConfig().context

    def propose(self, history: History) -> Proposal:
        from dmix.mixing.controllers.agent import AgentController

        agent = fresh_agent(
            history.space.labels, history.objectives, tuple(history.scales_D.tolist()), seed=self._seed
        )
        return AgentController(agent, name=self.name).propose(history)


@functools.lru_cache(maxsize=4)
def fresh_agent(
    labels: tuple[str, ...], objectives: tuple[str, ...], scales: tuple[float, ...], *, seed: int
) -> "MixingAgent":
    """An agent of the paper's size with weights drawn from `seed`; the global generator stays as it is."""
    import torch

    from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        agent = MixingAgent(MixingAgentConfig(labels=labels, objectives=objectives, scales=scales))
    return agent.eval()


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From a seed or nothing.

    Raises:
        InputError: If it is no whole number from 0 on.
    """
    if argument and not (argument.isdecimal() and len(argument) <= 10 and int(argument) <= MOST_SEED):
        raise InputError(
            f"untrained:{argument[:80]} contains no seed from 0 to {MOST_SEED}; write for example untrained:1"
        )
    return UntrainedController(int(argument or 0))
