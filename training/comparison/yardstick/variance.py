"""How much of an objective's variance is the mixture's: the admission of objectives (method §7).

score = base + mixture + base x mixture + seed, over M mixtures, B base models and S seeds of each pair.
Components are those of the balanced analysis of variance, mixtures and base models random, none below 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dmix.mixing.space.domains import Vector

THRESHOLD = 0.8
_DRAWS, _LEVEL = 2_000, 0.05


@dataclass(frozen=True, kw_only=True)
class Components:
    """Variances in the square of the score's unit.

    Attributes:
        base: Of base models.
        mixture: Of mixtures.
        interaction: Of what a mixture does to one base model and not to another.
        seed: Of seeds.
    """

    base: float
    mixture: float
    interaction: float
    seed: float

    @property
    def reliability(self) -> float:
        """Part of the variance within base models that is the mixture's; 0 where nothing varies."""
        total = self.mixture + self.interaction + self.seed
        return self.mixture / total if total > 0 else 0.0


def components(scores_MBS: NDArray[np.float64]) -> Components:
    """Variance components of a complete grid of scores.

    Raises:
        ValueError: If there are fewer than two mixtures, base models or seeds, or scores are missing.
    """
    if min(scores_MBS.shape) < 2 or not np.isfinite(scores_MBS).all():
        raise ValueError(
            f"scores have shape {scores_MBS.shape} (mixtures, base models, seeds), expected at least two of"
            " each and every score finite"
        )
    return Components(**{name: float(value_R[0]) for name, value_R in _variances(scores_MBS[None]).items()})


def _variances(scores_RMBS: NDArray[np.float64]) -> dict[str, Vector]:
    """The components of R grids, by name, each of shape (R,)."""
    grids, mixtures, bases, seeds = scores_RMBS.shape
    cell_RMB = scores_RMBS.mean(3)
    mixture_RM, base_RB = cell_RMB.mean(2), cell_RMB.mean(1)
    grand_R1 = cell_RMB.reshape(grids, -1).mean(1, keepdims=True)
    rest_RMB = cell_RMB - mixture_RM[:, :, None] - base_RB[:, None] + grand_R1[:, :, None]
    of_mixture_R = bases * seeds * ((mixture_RM - grand_R1) ** 2).sum(1) / (mixtures - 1)
    of_base_R = mixtures * seeds * ((base_RB - grand_R1) ** 2).sum(1) / (bases - 1)
    crossed_R = seeds * (rest_RMB**2).reshape(grids, -1).sum(1) / ((mixtures - 1) * (bases - 1))
    seed_R = ((scores_RMBS - cell_RMB[..., None]) ** 2).reshape(grids, -1).sum(1)
    seed_R /= mixtures * bases * (seeds - 1)
    return {
        "base": np.maximum(0.0, (of_base_R - crossed_R) / (mixtures * seeds)),
        "mixture": np.maximum(0.0, (of_mixture_R - crossed_R) / (bases * seeds)),
        "interaction": np.maximum(0.0, (crossed_R - seed_R) / seeds),
        "seed": seed_R,
    }


def reliability_bound(scores_MBS: NDArray[np.float64], *, rng: np.random.Generator) -> float:
    """The 5% quantile of reliability over bootstrap draws of mixtures; all mixtures alike count as 0."""
    mixtures = len(scores_MBS)
    drawn_RM = rng.integers(mixtures, size=(_DRAWS, mixtures))
    drawn_RM = drawn_RM[(drawn_RM != drawn_RM[:, :1]).any(1)]
    found = _variances(scores_MBS[drawn_RM])
    total_R = found["mixture"] + found["interaction"] + found["seed"]
    reliability_R = np.zeros(_DRAWS)
    np.divide(found["mixture"], total_R, out=reliability_R[: len(total_R)], where=total_R > 0)
    return float(np.quantile(reliability_R, _LEVEL))


def scale(scores_MBS: NDArray[np.float64]) -> float:
    """s_o: the standard deviation of scores after the mean of each base model is removed."""
    centred = scores_MBS - scores_MBS.mean((0, 2), keepdims=True)
    return float(np.sqrt((centred**2).sum() / (scores_MBS.size - scores_MBS.shape[1])))


def spearman(first_K: Vector, second_K: Vector) -> float:
    """Rank correlation with mean ranks for ties; 0 where one side is constant."""
    ranks = stats.rankdata(first_K), stats.rankdata(second_K)
    centred = [rank - rank.mean() for rank in ranks]
    norm = np.sqrt((centred[0] ** 2).sum() * (centred[1] ** 2).sum())
    return float(centred[0] @ centred[1] / norm) if norm > 0 else 0.0
