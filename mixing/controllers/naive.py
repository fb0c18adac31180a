"""Naive continual pre-training: the target field alone (arXiv 2507.15640, baselines)."""

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse


class NaiveController:
    """rho_t: nothing of the source field, natural shares within the target field."""

    name = "naive"

    def propose(self, history: History) -> Proposal:
        return Proposal(history.space.target_state_N.copy())


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return NaiveController()
