"""Another controller within guard rails (`dmix.mixing.trajectories.guard`); says where they had to hold it.

Limits are named `SET` or `SET:QUANTILE`: what all but a share of 1 - QUANTILE of the steps of that set
of trajectories keep to.
"""

import dataclasses

import numpy as np

from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal, context_of
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import total_variation
from dmix.mixing.trajectories.guard import GuardLimits, alarms, farm_limits, guarded
from dmix.mixing.trajectories.store import read_fitting_set, read_trajectories
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

DEFAULT_QUANTILE = 0.99

# Total variation below which a difference is rounding.
_TOLERANCE = 1e-6


class GuardedController:
    """Keeps another controller within limits.

    It goes by that controller's name. Events of kind `alarm` say what was wrong with a proposal,
    events of kind `guard` that it was changed.
    """

    def __init__(self, controller: Controller, limits: GuardLimits) -> None:
        self.name, self.context = controller.name, context_of(controller)
        self._controller, self._limits = controller, limits

    def propose(self, history: History) -> Proposal:
        """The other controller's mixture within the limits.

        What is no mixture (not finite, of another length) is passed on: the run falls back or fails.

        Raises:
            InputError: If the limits were taken over another domain space.
        """
        if len(self._limits.floors_N) != len(history.space):
            raise InputError(
                f"the guard limits are for {num_text(len(self._limits.floors_N), 'domain')}, but the run "
                f"has {len(history.space)}; use a set of the same dataset for --guard"
            )
        proposal = self._controller.propose(history)
        if not isinstance(proposal, Proposal):
            return proposal
        asked_N = proposal.mixture_N
        if asked_N.shape != self._limits.floors_N.shape or not np.isfinite(asked_N).all():
            return proposal
        events = [
            *proposal.events,
            *(
                ControllerEvent(kind="alarm", detail=alarm)
                for alarm in alarms(history, asked_N, self._limits)
            ),
        ]
        kept_N = guarded(history, asked_N, self._limits)
        moved = float(total_variation(asked_N, kept_N))
        if moved > _TOLERANCE:
            events.append(
                ControllerEvent(
                    kind="guard",
                    detail=f"the guard rails moved {moved * history.step_samples:.2f} of "
                    f"{num_text(history.step_samples, 'sample')} to other domains",
                )
            )
        return dataclasses.replace(
            proposal, mixture_N=kept_N if moved > _TOLERANCE else asked_N, events=tuple(events)
        )


def load_limits(spec: str, *, warehouse: Warehouse, space: DomainSpace) -> GuardLimits:
    """The limits that `SET` or `SET:QUANTILE` names.

    Raises:
        NotFoundError: If the set does not exist or has no trajectories.
        InputError: If the quantile is none, or the set was sampled for other domains.
    """
    set_name, colon, quantile = spec.partition(":")
    try:
        share = float(quantile) if colon else DEFAULT_QUANTILE
    except ValueError:
        raise InputError(
            f"--guard {spec!r} is not a set and a quantile; write for example farm:0.99"
        ) from None
    read_fitting_set(warehouse, set_name, space=space)
    return farm_limits(read_trajectories(warehouse, set_name), quantile=share)
