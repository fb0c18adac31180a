"""The schedule that learned simulators of a farm find best, whatever the feedback: open loop.

`dmix.mixing.world_model.schedule_search` says how it is found; it is searched once and kept with the set.
"""

from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.offline.farm import load_farm
from dmix.mixing.regression.fits import kept_fit
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.world_model.schedule_search import ScheduleSettings, find_schedule
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


class ScheduleController:
    """Proposes the entry of a schedule that lies at the same fraction of the run.

    Args:
        mixtures_TN: Of M steps of the farm, shape (M, N).
        name: What the run is recorded under.
    """

    def __init__(self, mixtures_TN: NDArray[np.float64], *, name: str = "schedule") -> None:
        self.name = name
        self._mixtures_TN = mixtures_TN

    @classmethod
    def load(cls, set_name: str, *, warehouse: Warehouse, space: DomainSpace) -> "ScheduleController":
        """The best schedule by the feedback of a set; searched once, then kept with the set.

        Raises:
            NotFoundError: If there is no such set.
            InputError: If it has other domains than the run, or no feedback.
        """
        farm = load_farm(warehouse, set_name, preset=None)
        if farm.space.names != space.names:
            raise InputError(
                f"set {set_name!r} has other (field, domain) pairs than the dataset of the run;"
                " choose a set that was sampled for the same taxonomy"
            )
        settings = ScheduleSettings()

        def search() -> list[list[float]]:
            found = find_schedule(
                farm.episodes,
                context=farm.context,
                weights_D=farm.weights_D,
                target_steps=farm.target_steps,
                settings=settings,
            )
            rows: list[list[float]] = found.mixtures_TN.tolist()
            return rows

        episodes = farm.episodes
        rows = kept_fit(
            warehouse,
            set_name,
            kind="schedule",
            arrays=(
                episodes.actions_ETN.numpy(),
                episodes.changes_ESD.numpy(),
                episodes.made_ET.numpy(),
                episodes.usual_E.numpy(),
                farm.weights_D,
            ),
            settings=asdict(settings),
            fit=search,
        )
        return cls(np.asarray(rows), name=f"schedule:{set_name}")

    def propose(self, history: History) -> Proposal:
        """Entry t of M; runs of another number of steps are stretched or pressed together."""
        entries = len(self._mixtures_TN)
        row = min(entries - 1, (2 * history.step - 1) * entries // (2 * history.steps))
        return Proposal(masked_mixture(self._mixtures_TN[row], history.space))


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """`load`, for `dmix.mixing.controllers`."""
    return ScheduleController.load(argument, warehouse=warehouse, space=space)
