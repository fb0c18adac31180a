"""RegMix (Liu et al. 2024, arXiv 2407.01492) objective by objective, within a distance of natural mixing.

As `regmix`, with three departures. Each objective has its own regression; U is made of the predictions.
The regressor (log-linear or RegMix's boosted trees) and the largest KL(rho || n), of 0.1, 0.3 and 0.6
nats, are chosen by cross-validation (`dmix.mixing.regression.radius`). Candidates beyond the radius are
drawn towards natural mixing until they are on it. The set should hold distinct mixtures, half of them
near natural mixing: `dmix.mixing.regression.design` makes 64 such.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.regression.farm_runs import load_farm_runs
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.regression.radius import FOLDS, RADII, choose, within
from dmix.mixing.regression.regressors import regressor
from dmix.mixing.regression.search import AVERAGED, CANDIDATES, best_mixture, simulated_mixtures
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import read_fitting_set
from dmix.warehouse_schema.files.layout import Warehouse

REGRESSORS = ("log-linear", "lightgbm")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The best mixture by regressions, and how it was chosen.

    Attributes:
        mixture_N: The mixture.
        regressor: The regressor that cross-validation chose.
        radius: Largest KL from natural mixing, nats.
        worth: Mean value of the favourites of each pair of regressor and radius.
    """

    mixture_N: Vector
    regressor: str
    radius: float
    worth: dict[tuple[str, float], float]


def best_near_natural(
    mixtures_RN: Array, scores_RD: Array, *, value: Callable[[Array], Vector], space: DomainSpace
) -> Found:
    """The best mixture by regressions on runs, within the radius that cross-validation chooses.

    Args:
        mixtures_RN: Mixtures of the runs.
        scores_RD: Their scores, or gains, on each objective.
        value: What scores (C, D) are worth, shape (C,).
        space: The domain space.
    """
    chosen, radius, worth = choose(
        mixtures_RN,
        scores_RD,
        value=value,
        natural_N=space.natural_N,
        regressors={name: regressor(name) for name in REGRESSORS},
    )
    fitted = regressor(chosen)(mixtures_RN, scores_RD)
    candidates_CN = within(
        simulated_mixtures(space, number=CANDIDATES, seed=0), space.natural_N, radius=radius
    )
    mixture_N = best_mixture(lambda m: value(fitted.predict(m)), candidates_CN)
    return Found(mixture_N=mixture_N, regressor=chosen, radius=radius, worth=worth)


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit:
    """The regressions on the static runs of a set, and the search for the best mixture within the radius.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other domains or too few static runs with feedback.
    """
    read_fitting_set(warehouse, argument, space=space)
    runs = load_farm_runs(warehouse, argument)
    mixtures_RN, scores_RD = runs.static_scores()

    def value(scores_CD: Array) -> Vector:
        found: Vector = (scores_CD / runs.scales_D) @ runs.weights_D
        return found

    def fit(progress: Callable[[str], None]) -> dict[str, Any]:
        progress(
            f"regmix-kl: fitting {' and '.join(REGRESSORS)} to {len(mixtures_RN)} constant runs "
            f"of set {argument}"
        )
        found = best_near_natural(mixtures_RN, scores_RD, value=value, space=space)
        progress(f"regmix-kl: uses {found.regressor}, at most {found.radius:g} nats from natural mixing")
        return {
            "mixture": found.mixture_N.tolist(),
            "regressor": found.regressor,
            "radius": found.radius,
            "worth": {f"{name}/{r:g}": worth for (name, r), worth in found.worth.items()},
        }

    return PlannedFit(
        warehouse=warehouse,
        set_name=argument,
        kind="regmix-kl",
        arrays=(mixtures_RN, scores_RD, runs.scales_D, runs.weights_D, space.samples_N),
        settings={
            "regressors": list(REGRESSORS),
            "radii": list(RADII),
            "folds": FOLDS,
            "candidates": CANDIDATES,
            "averaged": AVERAGED,
        },
        fit=fit,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The mixture that the prepared fit found."""
    found = plan(argument, warehouse=warehouse, space=space).read()
    return constant(masked_mixture(np.array(found["mixture"]), space), name=f"regmix-kl:{argument}")
