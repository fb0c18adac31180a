"""Natural mixing: draw from everything there is, by its size (arXiv 2507.15640, baselines)."""

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse


class NaturalController:
    """Shares of samples over both fields."""

    name = "natural"

    def propose(self, history: History) -> Proposal:
        return Proposal(history.space.natural_N.copy())


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return NaturalController()
