"""A space of four (field, domain) pairs, one of them empty, and what a controller proposes in it."""

import numpy as np

from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History

SPACE = DomainSpace(("News-2", "Law/Tax"), np.array([30, 0, 50, 20]))


def history(step=1, feedback=None, **changes):
    given = {
        "space": SPACE,
        "mixtures_TN": np.tile(SPACE.start_N, (step, 1)),
        "feedback_TD": np.full((step, 1), -3.0) if feedback is None else feedback,
        "objectives": ("x",),
        "weights_D": np.ones(1),
        "scales_D": np.ones(1),
        "steps": 5,
        "step_samples": 20,
        "remaining_samples_N": SPACE.samples_N,
        "seed": 0,
    }
    return History(**{**given, **changes})


def propose(spec, warehouse, **changes):
    return make_controller(spec, warehouse=warehouse, space=SPACE).propose(history(**changes)).mixture_N
