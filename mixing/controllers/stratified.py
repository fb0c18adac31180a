"""Stratified mixing: every active domain of both fields alike."""

from dmix.mixing.domains import Vector
from dmix.mixing.history import History


class StratifiedController:
    """The uniform mixture over the active domains."""

    name = "stratified"

    def propose(self, history: History) -> Vector:
        active_N = history.space.active_N
        return active_N / active_N.sum()
