"""Decisions of a run: asked of the controller once, written down, and from then on replayed.

A decision is on disk before its step starts (design §7.6). When a run goes on after a kill, the
steps that were decided before are taken from the event file, whatever the controller would say
now. Shapes: N (field, domain) pairs, t steps so far, D objectives.
"""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dmix.mixing.controllers import Controller, ControllerEvent
from dmix.mixing.controllers.isolation import asked
from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.events import Event, read_events_backwards

logger = logging.getLogger(__name__)

# Kinds of events that every step has: nothing to warn of.
_QUIET = {"shadow", "forecast"}


@dataclass(frozen=True, eq=False)
class Decision:
    """What was asked for one step.

    Attributes:
        asked_N: The asked mixture.
        replayed: True if an earlier attempt of the run had decided it.
        events: What is to be read about it in `run_events`; of kind `fallback` if the mixture is
            not the controller's own.
    """

    asked_N: Vector
    replayed: bool = False
    events: tuple[ControllerEvent, ...] = ()


def recorded_decisions(
    events_file: Path, *, after: int = 0, domains: int | None = None
) -> dict[int, Decision]:
    """The decision on every step after the given one that some attempt of a run has decided.

    The file is read from its end, and no further than those steps reach, so that a resume costs
    the same at step 2 and at step 10,000.

    Args:
        events_file: Of the run.
        after: The step.
        domains: N, which mixtures have to have; None for any.

    Raises:
        InputError: If an event is damaged, or its mixture cannot be one that was asked for.
    """
    found: dict[int, Decision] = {}
    decided_to: int | None = None
    for event in read_events_backwards(events_file):
        if event["event"] != "decision":
            continue
        if decided_to is None:
            decided_to = event["decided_to"]
        if event["step"] > after:
            try:
                decision = _recorded(event, domains=domains)
            except (KeyError, TypeError, ValueError, OverflowError) as error:
                raise InputError(
                    f"{events_file} has a decision on step {event['step']} that no run makes"
                    f" ({str(error)[:200]}); restore the file from a copy, or start another --run"
                ) from None
            found.setdefault(event["step"], decision)  # the last attempt of a step counts
        if len(found) >= decided_to - after:
            break
    return dict(sorted(found.items()))


def _recorded(event: Event, *, domains: int | None) -> Decision:
    asked_N = np.array(event["asked_N"], np.float64)
    if asked_N.shape != (domains or asked_N.size,) or not np.isfinite(asked_N).all():
        raise ValueError("its mixture is not one finite weight per domain")
    return Decision(
        asked_N,
        replayed=True,
        events=tuple(ControllerEvent(**one) for one in event["remarks"]),
    )


def decide(controller: Controller, history: History, recorded: dict[int, Decision]) -> Decision:
    """The decision of step `history.step`.

    A proposal that is not finite (from a NaN score, for example) becomes the fall-back: the
    planned mixture of the step before.

    Raises:
        InputError: If the controller raises, or returns something else than a `Proposal` of a mixture.
    """
    if history.step in recorded:
        return recorded[history.step]
    proposal = asked(controller, history)
    if not np.isfinite(proposal.mixture_N).all():
        proposal = dataclasses.replace(
            proposal,
            mixture_N=history.mixtures_TN[-1],
            note=f"{controller.name} proposed weights that are not finite; dmix uses the last mixture again",
        )
    fallback = (ControllerEvent(kind="fallback", detail=proposal.note),) if proposal.note else ()
    return Decision(proposal.mixture_N, events=(*fallback, *proposal.events))


def log_controller_events(events: tuple[ControllerEvent, ...], *, step: int, said: set[str]) -> None:
    """Warns of each kind of event when it first comes in a run; the events hold all of them.

    Args:
        events: Of the decision on a step.
        step: Its number.
        said: Kinds that were warned of; gets those of this step.
    """
    for event in events:
        # an alarm's own kind stands before the colon
        name, colon, _ = event.detail.partition(":")
        kind = f"{event.kind} {name}" if colon else event.kind
        if event.kind in _QUIET or kind in said:
            logger.info("step %d, %s: %s", step, event.kind, event.detail)
            continue
        said.add(kind)
        logger.warning(
            "step %d, %s: %s (the view run_events lists later events of this kind)",
            step,
            event.kind,
            event.detail,
        )
