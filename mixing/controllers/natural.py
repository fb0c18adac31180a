"""Natural mixing: draw from everything there is, by its size (arXiv 2507.15640, baselines)."""

from dmix.mixing.domains import Vector
from dmix.mixing.history import History


class NaturalController:
    """Shares of samples over both fields."""

    name = "natural"

    def propose(self, history: History) -> Vector:
        return history.space.natural_N.copy()
