"""What the studies of method §7 compute from finished runs: order, reward over-fitting.

Pure functions of arrays and panels. Each has its own null: the agent's mixtures in other orders,
items that no controller saw.

Shapes: S run seeds, O random orders, T steps, N (field, domain) pairs, I items.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.training.comparison.analysis.panel import BOOTSTRAP_SEED, Panel
from dmix.training.comparison.analysis.statistics import Bootstrap, Estimate, Matrix


@dataclass(frozen=True, kw_only=True)
class OrderEffect:
    """Whether the order of the agent's mixtures matters, or only what they add up to.

    Attributes:
        difference: Utility of its own order less the mean of random ones, over seeds and orders.
        rank_p: Share of orders, its own included, whose mean utility is at least that of its own.
    """

    difference: Estimate
    rank_p: float


def random_orders(mixture_TN: Matrix, *, orders: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """The same mixtures in other orders, shape (orders, T, N); none of them is the order given."""
    steps = len(mixture_TN)
    if steps < 2 or (mixture_TN == mixture_TN[0]).all():
        raise ValueError(f"{steps} steps that are all alike, expected mixtures whose order can differ")
    found: list[Matrix] = []
    while len(found) < orders:
        shuffled_TN = mixture_TN[rng.permutation(steps)]
        if not np.array_equal(shuffled_TN, mixture_TN):
            found.append(shuffled_TN)
    return np.stack(found)


def order_effect(own_S: Vector, shuffled_SO: Matrix) -> OrderEffect:
    """The agent's own order against random ones of the same mixtures, paired by seed.

    Args:
        own_S: Utility with the mixtures in their own order, shape (S,).
        shuffled_SO: Utility with each random order on the same seeds, shape (S, O).
    """
    orders = shuffled_SO.shape[1]
    # orders are resampled like the items of one objective: both are draws from many
    bootstrap = Bootstrap(np.zeros(orders, dtype=np.int64), weight_D=np.ones(1), seed=BOOTSTRAP_SEED)
    as_good = int((shuffled_SO.mean(axis=0) >= own_S.mean()).sum())
    return OrderEffect(
        difference=bootstrap.estimate(own_S[:, None] - shuffled_SO), rank_p=(1 + as_good) / (1 + orders)
    )


def overfitting(seen: Panel, unseen: Panel, *, controller: str, reference: str) -> Estimate | None:
    """How much more a controller gains on the items it steers by than on unseen ones.

    Layers differ in difficulty, so the gap of a reference that reads no scores is taken off:
    (U_seen - U_unseen) of the controller less that of the reference, paired by seed, with the items
    of both layers resampled.

    Args:
        seen: Runs on feedback items.
        unseen: The same runs on items that no controller sees.
        controller: Who steers by feedback.
        reference: Who does not, such as natural mixing.

    Returns:
        None if the two share no run on both layers, or the layers no objective of the utility.
    """
    names = {o.name for o in seen.objectives if o.weight} & {o.name for o in unseen.objectives if o.weight}
    first, second = (_only(panel, names) for panel in (seen, unseen))
    if first is None or second is None:
        return None
    pairs = [pair for pair in first.pairs if pair in second.pairs]
    if not {controller, reference} <= set(first.controllers) & set(second.controllers):
        return None
    excess_SI = np.concatenate(
        [_differences(panel, controller, reference, pairs=pairs) for panel in (first, second)], axis=1
    )
    excess_SI = excess_SI[np.isfinite(excess_SI).all(axis=1)]
    if not len(excess_SI):
        return None
    # the objectives of both layers side by side, those of the second one counted negative
    objective_I = np.concatenate([first.objective_I, second.objective_I + len(first.objectives)])
    weight_D = np.concatenate([first.utility_weight_D, -second.utility_weight_D])
    return Bootstrap(objective_I, weight_D=weight_D, seed=BOOTSTRAP_SEED).estimate(excess_SI)


def _differences(
    panel: Panel, controller: str, reference: str, *, pairs: Sequence[tuple[int, int]]
) -> Matrix:
    """Gain of the controller less that of the reference on each item, at these pairs, shape (S, I)."""
    places = [panel.pairs.index(pair) for pair in pairs]
    own_SI, other_SI = (
        panel.gains_CSI[panel.controllers.index(name)][places] for name in (controller, reference)
    )
    return own_SI - other_SI


def _only(panel: Panel, names: set[str]) -> Panel | None:
    """The panel of these objectives; None if it has no items of them."""
    kept_D = np.array([objective.name in names for objective in panel.objectives])
    return panel.among(kept_D[panel.objective_I])
