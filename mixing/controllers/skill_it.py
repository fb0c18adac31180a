"""Skill-It (Chen et al. 2023, arXiv 2307.14430): more of what helps the objectives that are behind.

The share of a domain in the next step follows the losses of the last w scores, through a graph A of what
helps what:

    p_d ~ exp(eta sum_o A_do L_o)

L_o is the mean loss of objective o over the last w scores, 1 before the first step.

w = 3 and eta = 0.2, as the authors' code runs it on pre-training text. Departures. A comes from stored
effects, their positive part over the largest one, where Skill-It trains on each skill and pairs of them;
an objective without weight counts for nothing; losses are minus the scores, in nats per token. Shares
begin alike, as there, whatever the sizes of the domains. Shapes: N domains, D objectives, A active
domains.
"""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.effects.store import fitting_effects
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.objectives import changed_names
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

STEP_SIZE, WINDOW = 0.2, 3


class SkillItController:
    """Multiplicative weights on the recent losses.

    Args:
        graph_ND: A, from 0 to 1.
        objectives: Names of its D objectives.
        name: Name that the run is recorded under.
    """

    context = WINDOW

    def __init__(self, graph_ND: Array, *, objectives: tuple[str, ...], name: str) -> None:
        self.name = name
        self._graph_ND, self._objectives = graph_ND, objectives

    def propose(self, history: History) -> Proposal:
        """The next mixture.

        Raises:
            InputError: If the run has other objectives or domains than the effects.
        """
        if history.objectives != self._objectives or len(history.space) != len(self._graph_ND):
            changed = changed_names(self._objectives, history.objectives) or "other domains"
            raise InputError(
                f"{self.name} has effects for other objectives or domains than the run's ({changed}); run "
                "'dmix mix probe --environment FILE' with the environment file and dataset of the run"
            )
        return Proposal(shares(self._graph_ND, recent_losses(history), active_N=history.space.active_N))


def recent_losses(history: History) -> Vector:
    """L_o, shape (D,): the mean over the last w scores, 1 before the first step; 0 without weight.

    A score that is missing is left out; where all of an objective are, it counts as the mean of the others.
    """
    weight_D = np.array(history.weights_D > 0, np.float64)
    if history.step == 1:
        return weight_D
    scores_TD = history.feedback_TD[1:][-WINDOW:]
    known_TD = np.isfinite(scores_TD)
    number_D = known_TD.sum(0)
    loss_D = -np.where(known_TD, scores_TD, 0.0).sum(0) / np.maximum(number_D, 1)
    known_D = number_D > 0
    others = float(loss_D[known_D].mean()) if known_D.any() else 1.0
    result: Vector = np.where(known_D, loss_D, others) * weight_D
    return result


def shares(graph_ND: Array, loss_D: Vector, *, active_N: NDArray[np.bool_]) -> Vector:
    """p, shape (N,), sum 1; 0 for domains without samples."""
    exponent_N = STEP_SIZE * graph_ND @ loss_D
    raised_N = np.where(active_N, np.exp(exponent_N - exponent_N[active_N].max()), 0.0)
    result: Vector = raised_N / raised_N.sum()
    return result


def helping_graph(effect_ND: Array) -> Array:
    """A, shape (N, D): the positive part of effects over the largest of them; 0 if there is none."""
    positive_ND = np.maximum(effect_ND, 0.0)
    largest = positive_ND.max(initial=0.0)
    return positive_ND / largest if largest > 0 else positive_ND


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """By the effects NAME, or by the newest that fit the domains.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If they are of other domains.
    """
    effects = fitting_effects(warehouse, space, name=argument or None).effects
    return SkillItController(
        helping_graph(effects.effect_ND), objectives=effects.objectives, name=f"skill-it:{effects.name}"
    )
