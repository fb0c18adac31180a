"""The source field alone, by its natural shares: the data of base models.

Not among the controllers that users can name, since a continual run under it would learn nothing.
"""

from dmix.mixing.controllers import Proposal
from dmix.mixing.space.history import History


class SourceController:
    """Proposes rho_s, always."""

    name = "source"

    def propose(self, history: History) -> Proposal:
        return Proposal(history.space.start_N.copy())
