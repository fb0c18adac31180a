"""Calling a controller so that it changes nothing but its answer.

What a controller is handed is read-only (`History`, `DomainSpace`); generators and modes of the process
are put back (`process_state`), so that dropout and the draws of a run are the same whether a controller
was asked, its decision was replayed, or a second one was asked in shadow.
"""

import traceback

import numpy as np

from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal
from dmix.mixing.controllers.process_state import unchanged_process
from dmix.mixing.delivery.exhaustion import SUM_TOLERANCE
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import DmixError, InputError


def asked(controller: Controller, history: History) -> Proposal:
    """What the controller proposes, checked; the process is as it was before.

    Raises:
        InputError: If the controller raises, or its answer is no `Proposal` of a mixture. The message
            names the controller, and the line of its file or the domain.
    """
    try:
        with unchanged_process():
            proposal = controller.propose(history)
    except DmixError as error:
        if controller.name in error.message:
            raise
        raise type(error)(f"controller {controller.name}, step {history.step}: {error.message}") from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, and what libraries derive from BaseException
        raise InputError(
            f"controller {controller.name} failed at step {history.step}: {type(error).__name__}: "
            f"{error}{_where(error)}; correct the controller, then resume the run"
        ) from error
    _check(proposal, history, name=controller.name)
    return proposal


def _where(error: BaseException) -> str:
    """The line that raised, for people."""
    frames = traceback.extract_tb(error.__traceback__)
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _check(proposal: object, history: History, *, name: str) -> None:
    """Raises an InputError unless it is a proposal of a mixture; weights that are not finite may pass."""
    if not isinstance(proposal, Proposal):
        raise InputError(
            f"controller {name} proposed a {type(proposal).__name__}, expected a"
            " dmix.mixing.controllers.Proposal; return Proposal(mixture_N)"
        )
    mixture_N, size = proposal.mixture_N, len(history.space)
    who = f"controller {name} proposed at step {history.step}"
    if mixture_N.shape != (size,):
        raise InputError(
            f"{who} weights of shape {mixture_N.shape}, expected ({size},): one weight for each pair in"
            " history.space.names"
        )
    if not isinstance(proposal.note, str) or not _are_events(proposal.events):
        raise InputError(
            f"{who} a Proposal with a note that is not text, or with events that are not ControllerEvent "
            "objects of text; correct the controller"
        )
    if not np.isfinite(mixture_N).all():
        return
    if (mixture_N < 0).any():
        index = int(mixture_N.argmin())
        raise InputError(
            f"{who} the weight {mixture_N[index]:g} for {'/'.join(history.space.names[index])}, expected "
            "0 or more"
        )
    if abs(mixture_N.sum() - 1) > SUM_TOLERANCE:
        raise InputError(
            f"{who} weights that sum to {mixture_N.sum():.9g}, expected 1 (tolerance {SUM_TOLERANCE});"
            " divide them by their sum"
        )


def _are_events(events: object) -> bool:
    return isinstance(events, tuple | list) and all(
        isinstance(event, ControllerEvent) and isinstance(event.kind, str) and isinstance(event.detail, str)
        for event in events
    )
