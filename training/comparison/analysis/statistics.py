"""Statistics of the comparison (method §7): intervals, tests, noise, Pareto front.

Everything here is a pure function of arrays; randomness comes in as a seed. Differences between two
controllers are differences of arrays that were paired by run seed and by item, so one estimator
serves levels and differences alike.

Shapes: S run seeds, I items, D objectives, B bootstrap replicates, C controllers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from dmix.mixing.space.domains import Vector

Matrix = NDArray[np.float64]

LEVEL = 0.95
REPLICATES = 10_000
# Rows of resampled item counts that are turned into floats at once: bounds memory at many items.
_CHUNK = 1_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A mean over seeds and items with its uncertainty.

    Attributes:
        value: Point estimate.
        low: Lower end of the 95% interval; NaN with fewer than two seeds.
        high: Upper end.
        p: Two-sided p of the hypothesis that the value is 0; NaN with fewer than two seeds.
        seeds: Number of paired runs behind it.
        items: Number of items with weight behind it.
    """

    value: float
    low: float
    high: float
    p: float
    seeds: int
    items: int

    @property
    def verdict(self) -> str:
        """`above` or `below` where the interval excludes 0, `tie` where not, `unknown` without one."""
        if not np.isfinite(self.low):
            return "unknown"
        return "above" if self.low > 0 else "below" if self.high < 0 else "tie"


class Bootstrap:
    """Two-level bootstrap of a weighted mean: seeds are resampled, and items within each objective.

    The resamples of the items are drawn once, so that all comparisons on the same items share them.
    A percentile interval over few seeds is too short: the spread of a resample is (n - 1)/n of the
    sample's, and a normal tail stands in for Student's. Both are put right by stretching it about the
    estimate, with n the number of seeds. (The expanded percentile interval of Hesterberg 2015, arXiv
    1411.5279, takes wider quantiles to the same end; with three seeds those lie beyond every draw.)
    Where items are the larger source of noise this is cautious.

    Args:
        objective_I: Objective of each item, ints in [0, D), shape (I,); every objective has items.
        weight_D: Weight of an objective's mean in the estimate, shape (D,).
        seed: Of the resamples.
        replicates: Number of resamples; no p below one in so many can come out.
    """

    def __init__(
        self, objective_I: NDArray[np.int64], *, weight_D: Vector, seed: int, replicates: int = REPLICATES
    ) -> None:
        sizes_D = np.bincount(objective_I, minlength=len(weight_D))
        if not sizes_D.all():
            raise ValueError(f"objectives have {sizes_D.tolist()} items, expected at least one each")
        self._seed = seed
        self._weight_I = weight_D[objective_I] / sizes_D[objective_I]
        self._counts_BI = _resampled_items(
            objective_I, replicates=replicates, rng=np.random.default_rng(seed)
        )
        self._seed_weights: dict[tuple[int, int], Matrix] = {}

    def estimate(self, values_SI: Matrix) -> Estimate:
        """The weighted mean of `values_SI`, shape (S, I), no NaN; for a pair, their difference."""
        value = float((values_SI @ self._weight_I).mean()) if len(values_SI) else float("nan")
        draws_B = self._draws(values_SI) if len(values_SI) > 1 else None
        return self._estimate(value, draws_B, seeds=len(values_SI))

    def contrast(self, first_SI: Matrix, second_RI: Matrix) -> Estimate:
        """Difference of two weighted means over different seeds: paired by item, not by seed.

        Seeds are resampled on each side by itself. The interval is stretched for the side with fewer
        of them, which is cautious; `seeds` is their number.
        """
        value = float((first_SI @ self._weight_I).mean() - (second_RI @ self._weight_I).mean())
        seeds = min(len(first_SI), len(second_RI))
        draws_B = self._draws(first_SI) - self._draws(second_RI, stream=1) if seeds > 1 else None
        return self._estimate(value, draws_B, seeds=seeds)

    def _estimate(self, value: float, draws_B: Vector | None, *, seeds: int) -> Estimate:
        low, high, p = np.nan, np.nan, np.nan
        if draws_B is not None:
            low, high = stretched_interval(draws_B, value=value, seeds=seeds)
            p = stretched_p(draws_B, value=value, seeds=seeds)
        items = int((self._weight_I != 0).sum())
        return Estimate(value=value, low=low, high=high, p=p, seeds=seeds, items=items)

    def _draws(self, values_SI: Matrix, *, stream: int = 0) -> Vector:
        """The estimate on every resample, shape (B,); another stream draws other seeds."""
        seeds = len(values_SI)
        replicates = len(self._counts_BI)
        if (seeds, stream) not in self._seed_weights:
            # no estimate depends on those that were made before it
            rng = np.random.default_rng([self._seed, seeds, stream])
            counts_BS = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates)
            self._seed_weights[seeds, stream] = counts_BS / seeds
        weighted_IS = (values_SI * self._weight_I).T
        means_BS = np.concatenate(
            [
                self._counts_BI[start : start + _CHUNK].astype(np.float64) @ weighted_IS
                for start in range(0, replicates, _CHUNK)
            ]
        )
        return (means_BS * self._seed_weights[seeds, stream]).sum(axis=1)


def _resampled_items(
    objective_I: NDArray[np.int64], *, replicates: int, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """How often each item comes in each resample: (B, I), drawn with replacement within objectives."""
    counts_BI = np.zeros((replicates, len(objective_I)), dtype=np.uint16)
    for objective in np.unique(objective_I):
        (members,) = np.nonzero(objective_I == objective)
        n = len(members)
        for start in range(0, replicates, _CHUNK):
            rows = min(_CHUNK, replicates - start)
            drawn = rng.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
            counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
            counts_BI[start : start + rows, members] = counts
    return counts_BI


def stretched_interval(
    draws_B: Vector, *, value: float, seeds: int, level: float = LEVEL
) -> tuple[float, float]:
    """Percentile interval of bootstrap draws, stretched about the estimate for few seeds (at least 2)."""
    low, high = np.quantile(draws_B, [(1 - level) / 2, (1 + level) / 2])
    stretch = _stretch(1 - level, seeds)
    return float(value + stretch * (low - value)), float(value + stretch * (high - value))


def stretched_p(draws_B: Vector, *, value: float, seeds: int) -> float:
    """Two-sided p that belongs to `stretched_interval`: 1 less the level at which it touches 0.

    At least 1 in as many as there are draws.
    """
    if value == 0:
        return 1.0
    # one side for both signs, and sorted once for all the levels that are tried
    draws_B = np.sort(draws_B * np.sign(value))
    value = abs(value)
    lowest, highest = 1 / len(draws_B), 1 - 1e-6

    def end(p: float) -> float:
        quantile = np.quantile(draws_B, p / 2)
        return float(value + _stretch(p, seeds) * (quantile - value))

    if end(lowest) >= 0:
        return lowest
    if end(highest) <= 0:
        return 1.0
    return float(optimize.brentq(end, lowest, highest, xtol=1e-6))


def _stretch(p: float, seeds: int) -> float:
    """Student's quantile over the normal one, and the spread of a sample over that of its resamples."""
    return float(
        np.sqrt(seeds / (seeds - 1)) * special.stdtrit(seeds - 1, 1 - p / 2) / special.ndtri(1 - p / 2)
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values of a family of hypotheses (Holm 1979), in the given order.

    A NaN is a hypothesis whose runs are not there yet: it counts in the family, as 1, and stays NaN.
    """
    filled = np.nan_to_num(np.asarray(p_values, dtype=np.float64), nan=1.0)
    adjusted = np.empty(len(filled))
    largest = 0.0
    for rank, index in enumerate(np.argsort(filled, kind="stable")):
        largest = max(largest, min(1.0, (len(filled) - rank) * filled[index]))
        adjusted[index] = largest
    adjusted[np.isnan(p_values)] = np.nan
    return adjusted.tolist()


def pair_noise(values_CS: Matrix) -> float:
    """Seed-to-seed standard deviation of the difference between two controllers.

    Root of the mean variance over all pairs that have two seeds or more in common.

    Args:
        values_CS: One number per controller and seed, shape (C, S), NaN where there is no run.

    Returns:
        NaN if no two controllers share two seeds.
    """
    variances, weights = [], []
    for first in range(len(values_CS)):
        differences = values_CS[first + 1 :] - values_CS[first]
        shared = np.isfinite(differences).sum(axis=1)
        for row, n in zip(differences, shared, strict=True):
            if n >= 2:
                variances.append(float(np.nanvar(row, ddof=1)))
                weights.append(int(n) - 1)
    return float(np.sqrt(np.average(variances, weights=weights))) if variances else float("nan")


def pareto_front(cost_C: Vector, value_C: Vector) -> NDArray[np.bool_]:
    """True where no other point costs at most as much and is worth at least as much, one strictly.

    NaN points are never on the front and shade nobody.
    """
    known = np.isfinite(cost_C) & np.isfinite(value_C)
    cheaper = cost_C[:, None] <= cost_C
    better = value_C[:, None] >= value_C
    strictly = (cost_C[:, None] < cost_C) | (value_C[:, None] > value_C)
    return known & ~(cheaper & better & strictly).any(axis=0)
