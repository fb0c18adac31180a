"""RegMix (Liu et al. 2024, arXiv 2407.01492): the constant mixture that a regression finds best.

The regressor learns the final utility of the farm's static runs from their mixtures; the best of
many simulated mixtures are averaged. Departs from the paper: the target is the utility U of the
set instead of one loss, and the default regressor is a Gaussian process, since a farm has a few
dozen static runs where the paper has 512, too few for boosted trees.
"""

from collections.abc import Callable

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.regression.farm_runs import load_farm_runs
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.regression.regressors import DEFAULT_REGRESSOR, REGRESSORS, regressor
from dmix.mixing.regression.search import AVERAGED, CANDIDATES, best_mixture, simulated_mixtures
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import read_fitting_set
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit:
    """The regression on the static runs of a set, and the search for its best mixture.

    Args:
        argument: `SET`, or `SET/REGRESSOR` with a name of `dmix.mixing.regression.REGRESSORS`.
            A set that was collected with another dataset of the same domains is used zero-shot.
        warehouse: Holds the set.
        space: Of the run; its natural shares are where the search draws.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other domains or too few static runs with feedback, or there is
            no such regressor.
    """
    set_name, _, chosen = argument.partition("/")
    chosen = chosen or DEFAULT_REGRESSOR
    if chosen not in REGRESSORS:
        raise InputError(
            f"regmix:{argument} has the regressor {chosen!r}, expected one of {', '.join(REGRESSORS)}"
        )
    read_fitting_set(warehouse, set_name, space=space)
    mixtures_RN, values_R1 = load_farm_runs(warehouse, set_name).static()

    def fit(progress: Callable[[str], None]) -> list[float]:
        progress(f"regmix: fitting {chosen} to {len(mixtures_RN)} constant runs of set {set_name}")
        fitted = regressor(chosen)(mixtures_RN, values_R1)
        candidates_CN = simulated_mixtures(space, number=CANDIDATES, seed=0)
        found: list[float] = best_mixture(lambda m: fitted.predict(m)[:, 0], candidates_CN).tolist()
        return found

    return PlannedFit(
        warehouse=warehouse,
        set_name=set_name,
        kind="regmix",
        arrays=(mixtures_RN, values_R1, space.samples_N),
        settings={"regressor": chosen, "candidates": CANDIDATES, "averaged": AVERAGED},
        fit=fit,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The mixture that the prepared fit found."""
    mixture = plan(argument, warehouse=warehouse, space=space).read()
    return constant(masked_mixture(mixture, space), name=f"regmix:{argument}")
