"""The agent in a run: tokens from the history, one forward pass, a masked mixture.

The pass reads at most `context` tokens, so a decision costs O(context x N) at any step, and
nothing is kept between decisions.
"""

import logging

import numpy as np

from dmix.mixing.agent import MixingAgent
from dmix.mixing.agent_store import load_agent
from dmix.mixing.domains import DomainSpace, Vector
from dmix.mixing.features import history_tokens
from dmix.mixing.history import History
from dmix.mixing.simplex import masked_mixture
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.layout import Warehouse

logger = logging.getLogger(__name__)

# Relative difference of |T| / (R * M) from which a run is said to differ from the agent's farm.
_SUPPLY_TOLERANCE = 0.1


class AgentController:
    """Proposes what the agent says; natural shares where a score that it reads is missing.

    Args:
        agent: In evaluation mode, for the labels of the run.
        name: What the run is recorded under.
    """

    def __init__(self, agent: MixingAgent, *, name: str = "agent") -> None:
        self.name = name
        self._agent = agent
        self._objectives = tuple(agent.config.objectives)

    @classmethod
    def load(cls, name_or_path: str, *, warehouse: Warehouse, space: DomainSpace) -> "AgentController":
        """The agent of the warehouse or of a folder.

        Raises:
            NotFoundError: If there is none.
            InputError: If it was trained for other domains.
        """
        agent = load_agent(warehouse, name_or_path)
        if tuple(agent.config.labels) != space.labels:
            raise InputError(
                f"agent {name_or_path!r} chooses among {len(agent.config.labels)} labels"
                f" ({', '.join(agent.config.labels[:3])}, …), the dataset has {len(space.labels)}"
                f" ({', '.join(space.labels[:3])}, …); train an agent on a set of this dataset"
            )
        return cls(agent, name=f"agent:{name_or_path}")

    def propose(self, history: History) -> Vector:
        """The agent's mixture, or natural shares if the newest or the first score is missing.

        Raises:
            InputError: If the run does not measure an objective that the agent reads.
        """
        missing = [name for name in self._objectives if name not in history.objectives]
        if missing:
            raise InputError(
                f"{self.name} reads the objectives {', '.join(self._objectives)}, but the environment has no"
                f" {', '.join(missing)}; use the environment it was trained with"
            )
        if history.step == 1:
            self._warn_of_other_supply(history)
        columns = [history.objectives.index(name) for name in self._objectives]
        # Row 0 is the anchor of every feature, the last row is what the decision answers to.
        if not np.isfinite(history.feedback_TD[[0, -1]][:, columns]).all():
            logger.warning("step %d: a score is missing, falling back to natural shares", history.step)
            return history.space.natural_N.copy()
        tokens_TX = history_tokens(
            history,
            objectives=self._objectives,
            scales_D=np.asarray(self._agent.config.scales),
            preset=self._agent.config.preset,
        )
        mixture_N = self._agent.next_mixture(tokens_TX, history.space.active_N)
        if not np.isfinite(mixture_N).all():
            logger.warning("step %d: the agent gave no finite mixture, using natural shares", history.step)
            return history.space.natural_N.copy()
        return masked_mixture(mixture_N, history.space)

    def _warn_of_other_supply(self, history: History) -> None:
        """Says so if the target lasts for another share of the run than in the agent's farm."""
        learnt = self._agent.config.target_supply
        target_samples = int(history.space.samples_N[history.space.target_N].sum())
        found = target_samples / (history.step_samples * history.steps)
        if learnt and abs(found - learnt) > _SUPPLY_TOLERANCE * learnt:
            logger.warning(
                "%s was trained where |T|/(R*M) is %.3f, here it is %.3f: the end of the target data comes"
                " at another step than it has learnt; --samples-per-step %d would agree",
                self.name,
                learnt,
                found,
                round(target_samples / (learnt * history.steps)),
            )
