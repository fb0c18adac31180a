"""Schedules of one number: the target share of each step, natural shares within the fields."""

import re
from collections.abc import Callable

import numpy as np

from dmix.mixing.controllers.interface import Proposal
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_RANGE = re.compile(rf"{_NUMBER}-{_NUMBER}")


class ShareController:
    """Proposes the target share that a schedule gives for the run so far.

    Args:
        share: Target share, 0 to 1, by progress: 0 at step 1, 1 at step M.
        name: What the run is recorded under.
    """

    def __init__(self, share: Callable[[float], float], *, name: str) -> None:
        self.name = name
        self._share = share

    def propose(self, history: History) -> Proposal:
        share = self._share(progress(history))
        return Proposal(history.space.expand(np.array([1 - share, share])))


def progress(history: History) -> float:
    """0 at step 1, 1 at step M and after it; 0 in a run of one step."""
    return min(1.0, (history.step - 1) / max(1, history.steps - 1))


def between(first: float, last: float, part: float) -> float:
    """The number that lies `part` of the way from `first` to `last`."""
    return (1 - part) * first + part * last


def parse_range(argument: str, *, spec: str) -> tuple[float, float]:
    """Two shares written FROM-TO.

    Raises:
        InputError: If the argument has another form, or a share is above 1.
    """
    found = _RANGE.fullmatch(argument)
    if found is None or not all(float(share) <= 1 for share in found.groups()):
        raise InputError(
            f"{spec}:{argument} does not name two target shares from 0 to 1; write for example {spec}:0.2-0.8"
        )
    return float(found[1]), float(found[2])
