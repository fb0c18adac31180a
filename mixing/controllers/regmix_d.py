"""RegMix, step by step: the mixture whose step is predicted to raise the utility most. Ours.

The regressor learns the change of U in a step from the step's mixture, what was drawn before it
and the time, on all steps of all runs of a farm; at each step of a run the best of many simulated
mixtures are averaged, as RegMix does for a constant one (arXiv 2407.01492). It is greedy: it sees
that repetition and time matter, and nothing of what a step does to later ones.
"""

from collections.abc import Callable

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.regression.boosted_trees import BoostedTrees, fit_boosted_trees
from dmix.mixing.regression.farm_runs import load_farm_runs, step_features
from dmix.mixing.regression.fits import PlannedFit
from dmix.mixing.regression.search import best_mixture, simulated_mixtures
from dmix.mixing.space.domains import Array, DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.store import read_fitting_set
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

# A step's decision should not take longer than a second: trees judge some 20,000 mixtures in it.
_CANDIDATES = 10_000
_AVERAGED = 50


class DynamicRegMixController:
    """Proposes the mixtures of the highest predicted change of U; deterministic.

    Args:
        trees: From `step_features` to the change of U.
        space: Where candidates are drawn.
        name: What the run is recorded under.
    """

    def __init__(self, trees: BoostedTrees, *, space: DomainSpace, name: str = "regmix-d") -> None:
        self.name = name
        self._trees = trees
        self._candidates_CN = simulated_mixtures(space, number=_CANDIDATES, seed=0)

    def propose(self, history: History) -> Proposal:
        def value(mixtures_CN: Array) -> Array:
            features_CX = step_features(
                mixtures_CN, history.mixtures_TN[1:], min(history.step, history.steps), history.steps
            )
            return self._trees.predict(features_CX)[:, 0]

        best_N = best_mixture(value, self._candidates_CN, averaged=_AVERAGED)
        return Proposal(masked_mixture(best_N, history.space))


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> PlannedFit:
    """Trees on the steps of a set.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If it has other domains, or no feedback.
    """
    read_fitting_set(warehouse, argument, space=space)
    features_RX, changes_R1 = load_farm_runs(warehouse, argument).changes()

    def fit(progress: Callable[[str], None]) -> list[str]:
        steps = num_text(len(features_RX), "step")
        progress(f"regmix-d: fitting boosted trees to {steps} of set {argument}")
        return fit_boosted_trees(features_RX, changes_R1).to_text()

    return PlannedFit(
        warehouse=warehouse,
        set_name=argument,
        kind="regmix-d",
        arrays=(features_RX, changes_R1),
        settings={"regressor": "lightgbm"},
        fit=fit,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The prepared trees of a set."""
    texts = plan(argument, warehouse=warehouse, space=space).read()
    return DynamicRegMixController(BoostedTrees.from_text(texts), space=space, name=f"regmix-d:{argument}")
