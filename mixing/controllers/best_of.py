"""The best trajectory of a farm, replayed: what sampling alone finds (method §7).

Best is the largest utility of the last score, with the weights and scales of the set's environment,
among the default proxies: gains of those with another learning rate, width, base or source do not compare.
"""

import numpy as np

from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.replay import ReplayController
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import load_feedback
from dmix.mixing.trajectories.objectives import load_environment, utility
from dmix.mixing.trajectories.store import read_set
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


def best_trajectory(warehouse: Warehouse, set_name: str) -> str:
    """The id of the trajectory whose proxy ended with the highest utility; the first one of equals.

    Raises:
        NotFoundError: If the set does not exist or has no feedback.
        InputError: If no trajectory of a default proxy has a first and a last score on every objective.
    """
    read_set(warehouse, set_name)
    feedback = load_feedback(warehouse, set_name)
    if not feedback.scores:
        raise NotFoundError(f"set {set_name!r} has no feedback; run 'dmix mix collect --set {set_name}'")
    environment = load_environment(warehouse.feedback(set_name) / "environment.yaml")
    gains = {
        name: float(utility(_last(scores_TD), scores_TD[0], environment.scales_D, environment.weights_D))
        for name, scores_TD in sorted(feedback.scores.items())
        if not feedback.variations[name]
    }
    finite = {name: gain for name, gain in gains.items() if np.isfinite(gain)}
    if not finite:
        raise InputError(
            f"set {set_name!r} has no trajectory of the default proxy with a first and a last score; run "
            f"'dmix mix collect --set {set_name!r}' again"
        )
    return max(finite, key=lambda name: finite[name])


def _last(scores_TD: np.ndarray) -> np.ndarray:
    """The last row that has scores; rows after the end of the data are NaN."""
    rows = np.flatnonzero(np.isfinite(scores_TD).any(axis=1))
    last: np.ndarray = scores_TD[rows[-1] if len(rows) else 0]
    return last


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """From the name of a set; `best_trajectory` and `ReplayController.load` say what is refused."""
    found = best_trajectory(warehouse, argument)
    controller = ReplayController.load(f"{argument}/{found}", warehouse=warehouse, space=space)
    controller.name = f"best-of:{argument}"
    return controller
