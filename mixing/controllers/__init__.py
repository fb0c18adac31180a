"""Controllers: whatever chooses the next mixture. The agent is one, every baseline another.

`Controller` is the whole interface; `make_controller` finds one by the name users give.
"""

from typing import Protocol

from dmix.mixing.domains import Vector
from dmix.mixing.history import History


class Controller(Protocol):
    """Chooses the mixture of a step from the history; holds no state that the history lacks.

    So a resumed run needs no controller state, and a decision depends on what was seen alone.
    """

    name: str

    def propose(self, history: History) -> Vector:
        """The asked mixture of step `history.step`: non-negative, shape (N,), sum 1."""
        ...
