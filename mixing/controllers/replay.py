"""Replays the mixtures of a stored trajectory, whatever the feedback: an open-loop schedule."""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import read_fitting_set, read_trajectory, trajectory_file
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


class ReplayController:
    """Proposes entry t of a trajectory at step t, and its last entry after its end.

    Args:
        mixtures_TN: Shape (T, N), row 0 is rho_s.
        name: What the run is recorded under.
    """

    def __init__(self, mixtures_TN: NDArray[np.float64], *, name: str = "replay") -> None:
        self.name = name
        self._mixtures_TN = mixtures_TN

    @classmethod
    def load(cls, argument: str, *, warehouse: Warehouse, space: DomainSpace) -> "ReplayController":
        """The trajectory `SET/TRAJECTORY` of the warehouse.

        Raises:
            NotFoundError: If there is no such set or trajectory.
            InputError: If `argument` has another form, or the set another domain space.
        """
        set_name, slash, trajectory = argument.partition("/")
        if not slash or not trajectory or "/" in trajectory:
            raise InputError(f"replay:{argument} contains no trajectory; write replay:SET/TRAJECTORY")
        read_fitting_set(warehouse, set_name, space=space)
        path = trajectory_file(warehouse.trajectories(set_name), trajectory)
        if not path.is_file():
            there = sorted(file.stem for file in path.parent.glob("*.parquet"))
            examples = ", ".join(there[:3]) or "none yet"
            raise NotFoundError(f"set {set_name!r} has no trajectory {trajectory!r} (first ones: {examples})")
        return cls(read_trajectory(path).mixtures_TN, name=f"replay:{argument}")

    def propose(self, history: History) -> Proposal:
        row = min(history.step, len(self._mixtures_TN) - 1)
        return Proposal(masked_mixture(self._mixtures_TN[row], history.space))


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """`load`, for `make_controller`."""
    return ReplayController.load(argument, warehouse=warehouse, space=space)
