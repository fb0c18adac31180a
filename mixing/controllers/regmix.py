"""RegMix (Liu et al. 2024, arXiv 2407.01492): the constant mixture that a regression finds best.

The regressor learns the final utility of the farm's static runs from their mixtures; the best of
many simulated mixtures are averaged. Departs from the paper: the target is the utility U of the
set instead of one loss, and the default regressor is a Gaussian process, since a farm has a few
dozen static runs where the paper has 512, too few for boosted trees.
"""

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.regression import DEFAULT_REGRESSOR, REGRESSORS, regressor
from dmix.mixing.regression.farm_runs import FarmRuns, load_farm_runs
from dmix.mixing.regression.fits import kept_fit
from dmix.mixing.regression.search import AVERAGED, CANDIDATES, best_mixture, simulated_mixtures
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


class RegMixController:
    """Proposes one mixture at every step.

    Args:
        mixture_N: The mixture that the regression found, shape (N,).
        name: What the run is recorded under.
    """

    def __init__(self, mixture_N: Vector, *, name: str = "regmix") -> None:
        self.name = name
        self._mixture_N = mixture_N

    @classmethod
    def load(cls, argument: str, *, warehouse: Warehouse, space: DomainSpace) -> "RegMixController":
        """The mixture that the static runs of a set lead to; fitted once, then kept with the set.

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
                f"regmix:{argument} names the regressor {chosen!r}, expected one of {', '.join(REGRESSORS)}"
            )
        runs = checked_runs_of(set_name, warehouse=warehouse, space=space)
        mixtures_RN, values_R1 = runs.static()

        def fit() -> list[float]:
            fitted = regressor(chosen)(mixtures_RN, values_R1)
            candidates_CN = simulated_mixtures(space, number=CANDIDATES, seed=0)
            found: list[float] = best_mixture(lambda m: fitted.predict(m)[:, 0], candidates_CN).tolist()
            return found

        mixture = kept_fit(
            warehouse,
            set_name,
            kind="regmix",
            arrays=(mixtures_RN, values_R1, space.samples_N),
            settings={"regressor": chosen, "candidates": CANDIDATES, "averaged": AVERAGED},
            fit=fit,
        )
        return cls(masked_mixture(mixture, space), name=f"regmix:{argument}")

    def propose(self, history: History) -> Proposal:
        return Proposal(self._mixture_N.copy())


def checked_runs_of(set_name: str, *, warehouse: Warehouse, space: DomainSpace) -> FarmRuns:
    """The scored runs of a set of the same (field, domain) pairs as the run.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other pairs, or no feedback.
    """
    runs = load_farm_runs(warehouse, set_name)
    if runs.names != space.names:
        raise InputError(
            f"set {set_name!r} has other (field, domain) pairs than the dataset of the run;"
            " choose a set that was sampled for the same taxonomy"
        )
    return runs


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """`load`, for `dmix.mixing.controllers`."""
    return RegMixController.load(argument, warehouse=warehouse, space=space)
