"""What a controller is: one method, from the history of a run to the mixture of its next step."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import CONTEXT, History
from dmix.warehouse_schema.errors import InputError


@dataclass(frozen=True, kw_only=True)
class ControllerEvent:
    """Something that the people behind a run should be able to read later, in `run_events`.

    Attributes:
        kind: One word, such as `alarm` or `shadow`.
        detail: A sentence, or JSON.
    """

    kind: str
    detail: str


@dataclass(frozen=True, eq=False)
class Proposal:
    """What a controller asks for.

    Attributes:
        mixture_N: Non-negative, shape (N,), sum 1.
        note: Why the controller fell back on another mixture than its own; empty if it did not.
            Recorded as run event `fallback`.
        events: Further run events of the step.
    """

    mixture_N: Vector
    note: str = ""
    events: tuple[ControllerEvent, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture_N", np.asarray(self.mixture_N, np.float64))


class Controller(Protocol):
    """Chooses the mixture of a step from the history; holds no state that the history lacks.

    So a resumed run needs no controller state, and a decision depends on what was seen alone. One
    that looks further back than the last `CONTEXT` steps says so by an attribute `context`: how
    many steps, or None for all of them, at the price of a checkpoint that grows with the run.
    """

    name: str

    def propose(self, history: History) -> Proposal:
        """What to draw step `history.step` from."""
        ...


def context_of(*controllers: Controller) -> int | None:
    """The steps that the history of controllers has to hold, None for all of them.

    Raises:
        InputError: If the `context` of one is neither a whole number nor None.
    """
    contexts = [getattr(controller, "context", CONTEXT) for controller in controllers]
    for controller, context in zip(controllers, contexts, strict=True):
        if context is not None and not (isinstance(context, int) and 0 <= context < 2**31):
            raise InputError(
                f"controller {controller.name} has the context {context!r}, expected a number of steps, or"
                " None for all of them"
            )
    return None if None in contexts else max(CONTEXT, *contexts)
