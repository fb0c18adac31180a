"""Naive continual pre-training: the target field alone (arXiv 2507.15640, baselines)."""

from dmix.mixing.domains import Vector
from dmix.mixing.history import History


class NaiveController:
    """rho_t: nothing of the source field, natural shares within the target field."""

    name = "naive"

    def propose(self, history: History) -> Vector:
        return history.space.target_state_N.copy()
