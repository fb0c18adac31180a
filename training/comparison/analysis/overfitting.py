"""Reward over-fitting (method §7): how much more a controller gains on the items that it steers by.

Shapes: S run seeds, D objectives, I items.
"""

from collections.abc import Sequence

import numpy as np

from dmix.training.comparison.analysis.panel import BOOTSTRAP_SEED, Panel
from dmix.training.comparison.analysis.statistics import Bootstrap, Estimate, Matrix


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
