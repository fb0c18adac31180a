"""Item scores of one stage on one layer of items, paired, as arrays that the statistics take.

Shapes: C controllers, S pairs of (run seed, base model), I items, D objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.training.comparison.analysis.statistics import Bootstrap, Estimate, Matrix
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text

# One seed for all resamples: the same folder gives the same page, byte for byte.
BOOTSTRAP_SEED = 20_250_720


@dataclass(frozen=True, kw_only=True)
class ObjectiveFacts:
    """An objective as the utility sees it.

    Attributes:
        name: As in the items.
        role: `general` or `target`.
        weight: Lambda, up to a common factor; 0 for an objective that is only watched.
        scale: s_i in nats per token.
        in_origin: False if its items come from elsewhere than any training text.
    """

    name: str
    role: str
    weight: float
    scale: float
    in_origin: bool = True


@dataclass(frozen=True, eq=False)
class Panel:
    """Item scores of the runs of one stage on one layer of items, paired.

    Attributes:
        layer: `feedback`, `development` or `confirmation`.
        units: Ids of the runs behind it.
        controllers: The C names, in order of first start.
        pairs: The S pairs of (run seed, base model). Runs of one pair that differ in the agent's
            seed are averaged.
        objectives: The D objectives that have items in this layer.
        objective_I: Objective of each item, shape (I,).
        near_duplicate_I: True where an item nearly stands in the training text, shape (I,).
        scores_CSI: Mean log-probability a token, NaN where there is no such run, shape (C, S, I).
        gains_CSI: The same less the score of the run's base model.
    """

    layer: str
    units: frozenset[str]
    controllers: tuple[str, ...]
    pairs: tuple[tuple[int, int], ...]
    objectives: tuple[ObjectiveFacts, ...]
    objective_I: NDArray[np.int64]
    near_duplicate_I: NDArray[np.bool_]
    scores_CSI: NDArray[np.float64]
    gains_CSI: NDArray[np.float64]

    @cached_property
    def utility_weight_D(self) -> Vector:
        """lambda_i / s_i with the lambdas of these objectives summing to 1, shape (D,).

        Objectives that are only watched have lambda 0; where there are no others they count alike.
        """
        weight_D = np.array([objective.weight for objective in self.objectives])
        if not weight_D.any():
            weight_D = np.ones(len(weight_D))
        return weight_D / weight_D.sum() / np.array([objective.scale for objective in self.objectives])

    @property
    def counted_items(self) -> int:
        """Items of the objectives that the utility counts."""
        return int((self.utility_weight_D[self.objective_I] != 0).sum())

    @cached_property
    def utility_CS(self) -> Matrix:
        """U = sum of lambda_i (score_i - base_i) / s_i of every run, NaN where there is none (C, S)."""
        return self._mean(self.gains_CSI, self.utility_weight_D)

    def best_first(self) -> list[str]:
        """Controllers from the highest mean utility to the lowest."""
        means = dict(zip(self.controllers, np.nanmean(self.utility_CS, axis=1), strict=True))
        return sorted(self.controllers, key=lambda name: -means[name])

    def utility(self, controller: str) -> Estimate:
        """U of a controller over its runs."""
        if (controller,) not in self._estimates:
            gains_SI = self.gains_CSI[self.controllers.index(controller)]
            self._estimates[controller,] = self._bootstrap.estimate(gains_SI[_there(gains_SI)])
        return self._estimates[controller,]

    def difference(self, first: str, second: str) -> Estimate:
        """U of the first less U of the second, over the pairs that both have run."""
        if (first, second) not in self._estimates:
            gains = [self.gains_CSI[self.controllers.index(name)] for name in (first, second)]
            difference_SI = gains[0] - gains[1]
            self._estimates[first, second] = self._bootstrap.estimate(difference_SI[_there(difference_SI)])
        return self._estimates[first, second]

    def contrast(self, first: str, second: str) -> Estimate:
        """U of the first less U of the second, each over all its pairs: for runs on different seeds."""
        gains = [self.gains_CSI[self.controllers.index(name)] for name in (first, second)]
        first_SI, second_SI = (gains_SI[_there(gains_SI)] for gains_SI in gains)
        return self._bootstrap.contrast(first_SI, second_SI)

    def role_CS(self, role: str, *, gain: bool = False) -> Matrix:
        """Mean score of the objectives of a role in nats per token, by their weights (C, S).

        Args:
            role: `general` or `target`.
            gain: Less the score of the base model.
        """
        weight_D = np.array([o.weight if o.role == role else 0.0 for o in self.objectives])
        if not weight_D.sum():
            return np.full(self.utility_CS.shape, np.nan)
        return self._mean(self.gains_CSI if gain else self.scores_CSI, weight_D / weight_D.sum())

    def among(self, keep_I: NDArray[np.bool_]) -> "Panel | None":
        """The panel with these items alone; objectives without items leave it. None without items."""
        kept = [d for d in range(len(self.objectives)) if (keep_I & (self.objective_I == d)).any()]
        if not kept:
            return None
        index_of = {d: index for index, d in enumerate(kept)}
        return replace(
            self,
            objectives=tuple(self.objectives[d] for d in kept),
            objective_I=np.array([index_of[d] for d in self.objective_I[keep_I]], dtype=np.int64),
            near_duplicate_I=self.near_duplicate_I[keep_I],
            scores_CSI=self.scores_CSI[:, :, keep_I],
            gains_CSI=self.gains_CSI[:, :, keep_I],
        )

    def at_pairs(self, keep_S: NDArray[np.bool_]) -> "Panel":
        """The panel with these pairs alone."""
        return replace(
            self,
            pairs=tuple(pair for pair, kept in zip(self.pairs, keep_S, strict=True) if kept),
            scores_CSI=self.scores_CSI[:, keep_S],
            gains_CSI=self.gains_CSI[:, keep_S],
        )

    @cached_property
    def slices(self) -> "dict[str, Panel]":
        """The panel and its parts that can give another result, by name; only those with items.

        Near-duplicates of training text leave the second one; the last two part the objectives by
        origin, and the one in origin is left out where it is all that the utility holds anyway.
        """
        inside_D = np.array([objective.in_origin for objective in self.objectives])
        counted_D = np.array([objective.weight > 0 for objective in self.objectives])
        found: dict[str, Panel | None] = {"all items": self}
        if self.near_duplicate_I.any():
            found["without near-duplicates"] = self.among(~self.near_duplicate_I)
        if not inside_D[counted_D].all():
            found["in origin"] = self.among(inside_D[self.objective_I])
        found["out of origin"] = self.among(~inside_D[self.objective_I])
        return {name: part for name, part in found.items() if part is not None}

    @cached_property
    def _bootstrap(self) -> Bootstrap:
        return Bootstrap(self.objective_I, weight_D=self.utility_weight_D, seed=BOOTSTRAP_SEED)

    @cached_property
    def _estimates(self) -> dict[tuple[str, ...], Estimate]:
        """Estimates that were made, by one controller or two: words, tables and figures share them."""
        return {}

    def _mean(self, values_CSI: NDArray[np.float64], weight_D: Vector) -> Matrix:
        sizes_D = np.bincount(self.objective_I, minlength=len(self.objectives))
        return values_CSI @ (weight_D / sizes_D)[self.objective_I]


def make_panel(
    done: pd.DataFrame, items: pd.DataFrame, *, objectives: Sequence[ObjectiveFacts], layer: str
) -> Panel | None:
    """Item scores as one array; runs without items, or with a score that is no number, are left out.

    Args:
        done: Finished runs of one stage.
        items: Item scores on one layer, of these runs and others.
        objectives: Of the setting; those without items do not count.
        layer: Name of the layer.

    Raises:
        InputError: If two runs were scored on different items, or an objective is unknown.
    """
    items = items[items.unit_id.isin(done.unit_id)]
    if items.empty:
        return None
    unknown = sorted(set(items.objective) - {objective.name for objective in objectives})
    if unknown:
        raise InputError(
            f"the items contain {unknown[0]!r}, but setting.json does not; write both files from one run"
        )
    scores = items.pivot(index="unit_id", columns=["objective", "item_id"], values="score")
    # every run has each of the items, or the pivot has holes where another run has numbers
    counts = items.groupby("unit_id").size()
    uneven = counts[counts != scores.shape[1]]
    if len(uneven):
        raise InputError(
            f"unit {uneven.index[0]} has scores on {num_text(int(uneven.iloc[0]), f'{layer} item')}, but all "
            f"units together have {scores.shape[1]}; score this unit again"
        )
    bases = items.pivot(index="unit_id", columns=["objective", "item_id"], values="base_score")
    near = items.drop_duplicates(["objective", "item_id"]).set_index(["objective", "item_id"]).near_duplicate
    usable = np.isfinite(scores.to_numpy(float)).all(axis=1) & np.isfinite(bases.to_numpy(float)).all(axis=1)
    scores, bases = scores[usable], bases.loc[scores.index[usable]]
    runs = done[done.unit_id.isin(scores.index)]
    if runs.empty:
        return None
    present = [o for o in objectives if o.name in set(items.objective)]
    names = {objective.name: index for index, objective in enumerate(present)}
    controllers = tuple(dict.fromkeys(runs.controller))
    pairs = tuple(sorted(set(zip(runs.seed.astype(int), runs.base.astype(int), strict=True))))
    shape = (len(controllers), len(pairs), scores.shape[1])
    scores_CSI, gains_CSI = np.full(shape, np.nan), np.full(shape, np.nan)
    for (controller, seed, base), members in runs.groupby(["controller", "seed", "base"]):
        cell = controllers.index(controller), pairs.index((int(seed), int(base)))
        score_I = scores.loc[members.unit_id].to_numpy(float).mean(axis=0)
        scores_CSI[cell] = score_I
        gains_CSI[cell] = score_I - bases.loc[members.unit_id].to_numpy(float).mean(axis=0)
    return Panel(
        layer=layer,
        units=frozenset(runs.unit_id),
        controllers=controllers,
        pairs=pairs,
        objectives=tuple(present),
        objective_I=np.array([names[name] for name, _ in scores.columns], dtype=np.int64),
        near_duplicate_I=near.loc[scores.columns].to_numpy(bool),
        scores_CSI=scores_CSI,
        gains_CSI=gains_CSI,
    )


def _there(values_SI: Matrix) -> NDArray[np.bool_]:
    return np.isfinite(values_SI).all(axis=1)
