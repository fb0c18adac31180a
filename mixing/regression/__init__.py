"""Regressors: from the mixture that a model was trained on to its losses or scores.

RegMix (Liu et al. 2024, arXiv 2407.01492) fits one to small proxy runs and looks for the best
mixture in it. Shapes: R runs, N domains, V values a run (losses, or one utility).
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from dmix.mixing.space.domains import Array
from dmix.warehouse_schema.errors import InputError

REGRESSORS = {
    "gaussian-process": "Matern-5/2 over log shares, one length scale per domain",
    "lightgbm": "boosted trees, as RegMix fits them",
    "log-linear": "linear in log shares, by ridge regression",
    "exponential": "constant + exp(linear), the data mixing laws",
}

# Chosen by five-fold cross-validation on the 512 training runs of the published RegMix tables.
DEFAULT_REGRESSOR = "gaussian-process"


class Fitted(Protocol):
    """A regressor after its fit."""

    def predict(self, mixtures_RN: Array) -> Array:
        """Values of other mixtures, shape (R, V)."""
        ...


Fit = Callable[[Array, Array], Fitted]


def regressor(name: str) -> Fit:
    """The function (mixtures (R, N), values (R, V)) -> `Fitted` of a name in `REGRESSORS`.

    Raises:
        InputError: If there is none of that name.
    """
    # Imported when asked for: each needs a library of its own.
    if name == "gaussian-process":
        from dmix.mixing.regression.gaussian_process import fit_gaussian_process

        return fit_gaussian_process
    if name == "lightgbm":
        from dmix.mixing.regression.boosted_trees import fit_boosted_trees

        return fit_boosted_trees
    if name == "exponential":
        from dmix.mixing.regression.exponential import fit_exponential

        return fit_exponential
    if name == "log-linear":
        from dmix.mixing.regression.log_linear import fit_log_linear

        return fit_log_linear
    raise InputError(f"regressor {name!r} is not one of {', '.join(REGRESSORS)}")


def checked_runs(mixtures_RN: Array, values_RV: Array) -> tuple[Array, Array]:
    """Both as float64, if they describe the same runs.

    Raises:
        InputError: If the shapes disagree, there are fewer than two runs, or a number is not finite.
    """
    mixtures_RN, values_RV = (np.asarray(a, dtype=np.float64) for a in (mixtures_RN, values_RV))
    if mixtures_RN.ndim != 2 or values_RV.ndim != 2 or len(mixtures_RN) != len(values_RV):
        raise InputError(
            f"mixtures have shape {mixtures_RN.shape} and values have {values_RV.shape}, expected (runs, "
            "domains) and (runs, values) of the same runs"
        )
    if len(mixtures_RN) < 2:
        raise InputError(f"{len(mixtures_RN)} runs are too few to fit a regressor; give at least 2")
    if not (np.isfinite(mixtures_RN).all() and np.isfinite(values_RV).all()):
        raise InputError("a mixture or a value is not finite; leave this run out")
    return mixtures_RN, values_RV
