"""How far from natural mixing a regression may be followed, chosen by cross-validation.

A regression promises most where it knows least. For each regressor and each radius, a fold's runs within
KL(rho || n) <= radius are ranked by a fit to the other runs; what its favourite really got, averaged
over folds, is what the pair of regressor and radius is worth. Shapes: R runs, N domains, D objectives, C
candidates.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dmix.mixing.regression.regressors import Fit
from dmix.mixing.space.domains import Array, Vector

RADII = (0.1, 0.3, 0.6)
FOLDS = 8


def divergence(mixtures_CN: Array, natural_N: Vector) -> Vector:
    """KL(rho || n) in nats, shape (C,); infinite where a mixture leaves the support of n."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_CN = mixtures_CN * (np.log(mixtures_CN) - np.log(natural_N))
    return np.where(mixtures_CN > 0, terms_CN, 0.0).sum(-1)


def within(mixtures_CN: Array, natural_N: Vector, *, radius: float) -> Array:
    """The mixtures, drawn towards natural mixing on a straight line until KL(rho || n) <= radius."""
    low_C, high_C = np.zeros(len(mixtures_CN)), np.ones(len(mixtures_CN))
    high_C[divergence(mixtures_CN, natural_N) > radius] = 0.0
    outside_C = high_C == 0
    low_C[~outside_C], top_C = 1.0, np.ones(len(mixtures_CN))
    for _ in range(40):
        middle_C = (low_C + top_C) / 2
        fits_C = divergence(_between(mixtures_CN, natural_N, middle_C), natural_N) <= radius
        low_C, top_C = np.where(fits_C, middle_C, low_C), np.where(fits_C, top_C, middle_C)
    return _between(mixtures_CN, natural_N, low_C)


def choose(
    mixtures_RN: Array,
    scores_RD: Array,
    *,
    value: Callable[[Array], Vector],
    natural_N: Vector,
    regressors: Mapping[str, Fit],
    radii: Sequence[float] = RADII,
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[str, float, dict[tuple[str, float], float]]:
    """The best regressor and radius, and what each pair is worth.

    Args:
        mixtures_RN: Mixtures of the runs.
        scores_RD: Their scores on each objective.
        value: What scores (C, D) are worth, shape (C,).
        natural_N: n.
        regressors: By name, the simplest first: of equal pairs the first wins, and the smaller radius.
        radii: In nats, ascending.
        folds: Parts that the runs are split into.
        seed: Of the split.
    """
    order_R = np.random.default_rng(seed).permutation(len(mixtures_RN))
    far_R, real_R = divergence(mixtures_RN, natural_N), value(scores_RD)
    got: dict[tuple[str, float], list[float]] = {(name, r): [] for name in regressors for r in radii}
    for part in np.array_split(order_R, min(folds, len(order_R))):
        rest = np.setdiff1d(order_R, part)
        for name, fit in regressors.items():
            promised = value(fit(mixtures_RN[rest], scores_RD[rest]).predict(mixtures_RN[part]))
            for radius in radii:
                near = np.flatnonzero(far_R[part] <= radius)
                if len(near):
                    got[name, radius].append(float(real_R[part][near[np.argmax(promised[near])]]))
    worth = {pair: float(np.mean(values)) for pair, values in got.items() if values}
    if not worth:  # no run is near natural mixing: nothing says that farther is better
        return next(iter(regressors)), float(radii[0]), {}
    name, radius = max(worth, key=lambda pair: worth[pair])
    return name, radius, worth


def _between(mixtures_CN: Array, natural_N: Vector, part_C: Vector) -> Array:
    return natural_N + part_C[:, None] * (mixtures_CN - natural_N)
