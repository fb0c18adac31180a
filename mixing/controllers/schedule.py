"""The schedule that learned simulators of a farm find best, whatever the feedback: open loop.

`dmix.mixing.world_model.schedule_search` says how it is found; it is searched once and kept with the set.
"""

from collections.abc import Callable
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.offline.farm import load_farm
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import read_fitting_set
from dmix.mixing.world_model.schedule_search import ScheduleSettings, find_schedule
from dmix.warehouse_schema.files.layout import Warehouse


class ScheduleController:
    """Proposes the entry of a schedule at the same fraction of the run.

    Args:
        mixtures_TN: Of M steps of the farm, shape (M, N).
        name: What the run is recorded under.
    """

    def __init__(self, mixtures_TN: NDArray[np.float64], *, name: str = "schedule") -> None:
        self.name = name
        self._mixtures_TN = mixtures_TN

    def propose(self, history: History) -> Proposal:
        """Entry t of M; runs of another number of steps are stretched or pressed together."""
        entries = len(self._mixtures_TN)
        row = min(entries - 1, (2 * history.step - 1) * entries // (2 * history.steps))
        return Proposal(masked_mixture(self._mixtures_TN[row], history.space))


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit:
    """The search for the best schedule by the feedback of a set.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other domains than the run, or no feedback.
    """
    read_fitting_set(warehouse, argument, space=space)
    farm = load_farm(warehouse, argument, preset=None)
    settings, episodes = ScheduleSettings(), farm.episodes

    def search(progress: Callable[[str], None]) -> list[list[float]]:
        found = find_schedule(
            episodes,
            context=farm.context,
            weights_D=farm.weights_D,
            target_steps=farm.target_steps,
            settings=settings,
            progress=progress,
        )
        rows: list[list[float]] = found.mixtures_TN.tolist()
        return rows

    return PlannedFit(
        warehouse=warehouse,
        set_name=argument,
        kind="schedule",
        arrays=(
            episodes.actions_ETN.numpy(),
            episodes.changes_ESD.numpy(),
            episodes.valid_mask_ET.numpy(),
            episodes.is_default_proxy_E.numpy(),
            farm.weights_D,
        ),
        settings=asdict(settings),
        fit=search,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The prepared schedule of a set."""
    rows = plan(argument, warehouse=warehouse, space=space).read()
    return ScheduleController(np.asarray(rows), name=f"schedule:{argument}")
