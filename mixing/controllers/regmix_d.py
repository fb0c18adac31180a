"""RegMix, step by step: the mixture whose step is predicted to raise the utility most. Ours.

The regressor learns the change of U in a step from the step's mixture, what was drawn before it
and the time, on all steps of all runs of a farm; at each step of a run the best of many simulated
mixtures are averaged, as RegMix does for a constant one (arXiv 2407.01492). It is greedy: it sees
that repetition and time matter, and nothing of what a step does to later ones.
"""

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.controllers.regmix import checked_runs_of
from dmix.mixing.regression import Array
from dmix.mixing.regression.boosted_trees import BoostedTrees, fit_boosted_trees
from dmix.mixing.regression.farm_runs import step_features
from dmix.mixing.regression.fits import kept_fit
from dmix.mixing.regression.search import best_mixture, simulated_mixtures
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.space.simplex import masked_mixture
from dmix.warehouse_schema.files.layout import Warehouse

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

    @classmethod
    def load(cls, set_name: str, *, warehouse: Warehouse, space: DomainSpace) -> "DynamicRegMixController":
        """Trees on the steps of a set; fitted once, then kept with the set.

        Raises:
            NotFoundError: If there is no such set.
            InputError: If it has other domains, or no feedback.
        """
        features_RX, changes_R1 = checked_runs_of(set_name, warehouse=warehouse, space=space).changes()
        texts = kept_fit(
            warehouse,
            set_name,
            kind="regmix-d",
            arrays=(features_RX, changes_R1),
            settings={"regressor": "lightgbm"},
            fit=lambda: fit_boosted_trees(features_RX, changes_R1).to_text(),
        )
        return cls(BoostedTrees.from_text(texts), space=space, name=f"regmix-d:{set_name}")

    def propose(self, history: History) -> Proposal:
        def value(mixtures_CN: Array) -> Array:
            features_CX = step_features(
                mixtures_CN, history.mixtures_TN[1:], min(history.step, history.steps), history.steps
            )
            return self._trees.predict(features_CX)[:, 0]

        best_N = best_mixture(value, self._candidates_CN, averaged=_AVERAGED)
        return Proposal(masked_mixture(best_N, history.space))


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """`load`, for `dmix.mixing.controllers`."""
    return DynamicRegMixController.load(argument, warehouse=warehouse, space=space)
