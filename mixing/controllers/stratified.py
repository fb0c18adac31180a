"""Stratified mixing: every active domain of both fields alike."""

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse


class StratifiedController:
    """The uniform mixture over the active domains."""

    name = "stratified"

    def propose(self, history: History) -> Proposal:
        active_N = history.space.active_N
        return Proposal(active_N / active_N.sum())


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return StratifiedController()
