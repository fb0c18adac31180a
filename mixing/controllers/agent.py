"""The agent in a run: tokens from the history, one forward pass, a masked mixture.

The pass reads at most `context` tokens, so a decision costs O(context x N) at any step, and
nothing is kept between decisions.
"""

import numpy as np

from dmix.mixing.agent.agent import Agent
from dmix.mixing.agent.folders import check_labels
from dmix.mixing.agent.inputs import reading, run_tokens
from dmix.mixing.agent.store import load_agent
from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal
from dmix.mixing.effects.prediction import Prediction, predict
from dmix.mixing.effects.store import fitting_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.warehouse_schema.files.layout import Warehouse

# Relative difference of |T| / (R * M) from which a run is said to differ from the agent's farm.
_SUPPLY_TOLERANCE = 0.1


class AgentController:
    """Proposes what the agent says; natural shares where a score that it reads is missing.

    Args:
        agent: In evaluation mode; a `MixingAgent` for the labels of the run, a `SetAgent` for any.
        name: What the run is recorded under.
    """

    def __init__(self, agent: Agent, *, name: str = "agent", prediction: Prediction | None = None) -> None:
        self.name = name
        self._prediction = prediction
        self._agent = agent
        self.context = int(agent.config.context)

    @classmethod
    def load(cls, name_or_path: str, *, warehouse: Warehouse, space: DomainSpace) -> "AgentController":
        """The agent of the warehouse or of a folder.

        Raises:
            NotFoundError: If there is none.
            InputError: If it was trained for other domains.
        """
        agent = load_agent(warehouse, name_or_path)
        if agent.config.fixed_space:
            check_labels(agent.config.labels, wanted=space.labels, agent=name_or_path)
        prediction = None
        if getattr(agent.config, "effects", False):
            stored = fitting_effects(warehouse, space)
            prediction = predict([stored.effects], stored.counts)
        return cls(agent, name=f"agent:{name_or_path}", prediction=prediction)

    def propose(self, history: History) -> Proposal:
        """The agent's mixture, or natural shares if the newest or the first score is missing.

        At step 1 an event of kind `supply` says so if the target lasts for another share of the
        run than in the agent's farm.

        Raises:
            InputError: If the run does not measure an objective that the agent reads.
        """
        read = reading(self._agent.config, history, name=self.name, prediction=self._prediction)
        columns = [history.objectives.index(name) for name in read.objectives]
        # Row 0 is the anchor of every feature, the last row is what the decision answers to.
        if not np.isfinite(history.feedback_TD[[0, -1]][:, columns]).all():
            return _natural(history, "a score is missing")
        tokens_TX = run_tokens(self._agent.config, history, read)
        mixture_N = self._agent.next_mixture(tokens_TX, history.space.active_N)
        if not np.isfinite(mixture_N).all():
            return _natural(history, "the agent gave no finite mixture")
        events = self._supply_events(history) if history.step == 1 else ()
        return Proposal(masked_mixture(mixture_N, history.space), events=events)

    def _supply_events(self, history: History) -> tuple[ControllerEvent, ...]:
        learnt = self._agent.config.target_supply
        target_samples = int(history.space.samples_N[history.space.target_N].sum())
        found = target_samples / (history.step_samples * history.steps)
        if learnt and abs(found - learnt) > _SUPPLY_TOLERANCE * learnt:
            detail = (
                f"there are {found:.3g} samples of target text for each sample of this run, and "
                f"{learnt:.3g} in the training of {self.name}. So the target text runs out at another step. "
                "To match, set "
                f"--samples-per-step to about {round(target_samples / (learnt * history.steps))}"
            )
            return (ControllerEvent(kind="supply", detail=detail),)
        return ()


def _natural(history: History, why: str) -> Proposal:
    return Proposal(history.space.natural_N.copy(), note=f"{why}, so this step uses natural mixing")


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """`load`, for `make_controller`."""
    return AgentController.load(argument, warehouse=warehouse, space=space)
