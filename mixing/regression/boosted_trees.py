"""Boosted trees from mixtures to values, as RegMix fits them (arXiv 2407.01492): LightGBM.

One model a value, plain shares as inputs. A leaf needs 20 runs (LightGBM's default), so that a
few dozen runs give next to a constant: use another regressor there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np

from dmix.mixing.regression.tables import checked_runs
from dmix.mixing.space.domains import Array

# The first three are RegMix's; one thread and `deterministic` make fits repeat to the bit.
_PARAMETERS = {
    "objective": "regression",
    "learning_rate": 0.01,
    "num_leaves": 31,
    "seed": 42,
    "num_threads": 1,
    "deterministic": True,
    "verbosity": -1,
}
_TREES = 1000


@dataclass(frozen=True, eq=False)
class BoostedTrees:
    """One booster a value."""

    boosters: Sequence[lightgbm.Booster]

    def predict(self, mixtures_RN: Array) -> Array:
        """Values of mixtures, shape (R, V)."""
        return np.stack([booster.predict(mixtures_RN, num_threads=1) for booster in self.boosters], axis=1)

    def to_text(self) -> list[str]:
        """The boosters in LightGBM's own text form."""
        return [booster.model_to_string() for booster in self.boosters]

    @classmethod
    def from_text(cls, texts: Sequence[str]) -> "BoostedTrees":
        """What `to_text` gave."""
        return cls([lightgbm.Booster(model_str=text) for text in texts])


def fit_boosted_trees(mixtures_RN: Array, values_RV: Array) -> BoostedTrees:
    """1,000 trees a value on all runs.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    mixtures_RN, values_RV = checked_runs(mixtures_RN, values_RV)
    return BoostedTrees(
        [
            lightgbm.train(_PARAMETERS, lightgbm.Dataset(mixtures_RN, label=values_R), num_boost_round=_TREES)
            for values_R in values_RV.T
        ]
    )
