"""Decisions of a run: asked of the controller once, written down, and from then on replayed.

A decision is on disk before its step starts (design §7.6). When a run goes on after a kill, the
steps that were decided before are taken from the event file, whatever the controller would say
now. Shapes: N (field, domain) pairs, t steps so far, D objectives.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmix.mixing.controllers import Controller
from dmix.mixing.domains import Vector
from dmix.mixing.history import History
from dmix.warehouse_schema.events import read_events

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Decision:
    """What was asked for one step.

    Attributes:
        asked_N: The asked mixture.
        replayed: True if an earlier attempt of the run had decided it.
        note: Why the fall-back was taken; empty otherwise.
    """

    asked_N: Vector
    replayed: bool = False
    note: str = ""


def recorded_decisions(events_file: Path) -> dict[int, Vector]:
    """The asked mixture of every step that some attempt of a run has decided."""
    return {
        int(event["step"]): np.array(event["asked_N"], np.float64)
        for event in read_events(events_file)
        if event["event"] == "decision"
    }


def decide(controller: Controller, history: History, recorded: dict[int, Vector]) -> Decision:
    """The decision of step `history.step`.

    A proposal that is not finite (from a NaN score, for example) becomes the fall-back: the
    planned mixture of the step before.
    """
    if history.step in recorded:
        return Decision(recorded[history.step], replayed=True)
    asked_N = np.asarray(controller.propose(history), np.float64)
    if np.isfinite(asked_N).all():
        return Decision(asked_N)
    note = f"{controller.name} proposed weights that are not finite; the last mixture stays"
    logger.warning("step %d: %s", history.step, note)
    return Decision(history.mixtures_TN[-1], note=note)
