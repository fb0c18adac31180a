"""Shadow mode: one controller steers, another is asked too, and its answers are only written down."""

import dataclasses
import json
import logging

import numpy as np

from dmix.mixing.controllers.interface import Controller, ControllerEvent, Proposal, context_of
from dmix.mixing.controllers.process_state import unchanged_process
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import total_variation

logger = logging.getLogger(__name__)


class ShadowController:
    """Proposes what `acting` does, with an event of kind `shadow` on what `shadow` would have done.

    The event is JSON: controller, total_variation from the acting mixture, and mixture by
    field/domain (weights of 0 left out); or controller and error.
    """

    def __init__(self, acting: Controller, shadow: Controller) -> None:
        self.name, self.context = acting.name, context_of(acting, shadow)
        self._acting, self._shadow = acting, shadow

    def propose(self, history: History) -> Proposal:
        """The acting controller's proposal."""
        chosen = self._acting.propose(history)
        if not isinstance(chosen, Proposal):
            return chosen
        found: dict[str, object] = {"controller": self._shadow.name}
        # Whatever goes wrong in the shadow must not touch the run.
        try:
            with unchanged_process():
                shadow = self._shadow.propose(history.copied())
            found["total_variation"] = float(total_variation(chosen.mixture_N, shadow.mixture_N))
            found["mixture"] = {
                "/".join(history.space.names[i]): float(shadow.mixture_N[i])
                for i in np.flatnonzero(shadow.mixture_N)
            }
            if shadow.note:
                found["fallback"] = shadow.note
            detail = json.dumps(found, ensure_ascii=False, allow_nan=False)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            logger.warning(
                "step %d: the shadow controller %s failed", history.step, self._shadow.name, exc_info=True
            )
            failed = {"controller": self._shadow.name, "error": f"{type(error).__name__}: {error}"}
            detail = json.dumps(failed, ensure_ascii=False)
        event = ControllerEvent(kind="shadow", detail=detail)
        return dataclasses.replace(chosen, events=(*chosen.events, event))
