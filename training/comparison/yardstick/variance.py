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
    mixtures, bases, seeds = scores_MBS.shape
    if min(scores_MBS.shape) < 2 or not np.isfinite(scores_MBS).all():
        raise ValueError(
            f"scores have shape {scores_MBS.shape} (mixtures, base models, seeds), expected at least two of"
            " each and every score finite"
        )
    cell_MB = scores_MBS.mean(2)
    mixture_M, base_B, grand = cell_MB.mean(1), cell_MB.mean(0), cell_MB.mean()
    rest_MB = cell_MB - mixture_M[:, None] - base_B + grand
    mean_squares = {
        "mixture": bases * seeds * ((mixture_M - grand) ** 2).sum() / (mixtures - 1),
        "base": mixtures * seeds * ((base_B - grand) ** 2).sum() / (bases - 1),
        "interaction": seeds * (rest_MB**2).sum() / ((mixtures - 1) * (bases - 1)),
        "seed": ((scores_MBS - cell_MB[:, :, None]) ** 2).sum() / (mixtures * bases * (seeds - 1)),
    }
    crossed = mean_squares["interaction"]
    return Components(
        base=max(0.0, float(mean_squares["base"] - crossed) / (mixtures * seeds)),
        mixture=max(0.0, float(mean_squares["mixture"] - crossed) / (bases * seeds)),
        interaction=max(0.0, float(crossed - mean_squares["seed"]) / seeds),
        seed=float(mean_squares["seed"]),
    )


def reliability_bound(scores_MBS: NDArray[np.float64], *, rng: np.random.Generator) -> float:
    """The 5% quantile of reliability over bootstrap draws of mixtures; all mixtures alike count as 0."""
    mixtures = len(scores_MBS)
    found = []
    for _ in range(_DRAWS):
        drawn = rng.integers(mixtures, size=mixtures)
        alike = len(set(drawn.tolist())) < 2
        found.append(0.0 if alike else components(scores_MBS[drawn]).reliability)
    return float(np.quantile(found, _LEVEL))


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
