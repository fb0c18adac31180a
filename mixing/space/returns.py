"""Diminishing returns: scores on a scale on which equal amounts of text gain alike.

A score cannot rise without end: it has some headroom c above its first value S_0, and every gain uses a
part of what is left. On the additive scale

    z(S) = S_0 - c log(1 - (S - S_0) / c),    S(z) = S_0 + c (1 - exp(-(z - S_0) / c))

gains add up, z(S_0) = S_0 and dz/dS = 1 there. Endless headroom is the straight line z = S. Where z is
normal, the expected score is known in closed form, and is lower the less sure z is: uncertainty has a price.
All arrays have shape (D,), objectives.
"""

from dataclasses import dataclass

import numpy as np

from dmix.mixing.space.domains import Vector

# A score this near to its ceiling, as a part of its headroom, counts as that near and no nearer.
_NEAREST = 1e-3
# Exponents beyond this one are cut off: scores that far down are alike.
_STEEPEST = 8.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Returns:
    """How the scores of a run bend.

    Attributes:
        first_D: S_0, nats per token.
        inverse_D: 1 / c, per nat; 0 for endless headroom.
    """

    first_D: Vector
    inverse_D: Vector

    @classmethod
    def straight(cls, first_D: Vector) -> "Returns":
        """Endless headroom."""
        return cls(first_D=first_D, inverse_D=np.zeros_like(first_D))

    @classmethod
    def of_scores(cls, first_D: Vector, headroom: float) -> "Returns":
        """Headroom as a part of the first score's distance from 0, the highest log-probability.

        Endless where the first score is missing or 0.
        """
        depth_D = headroom * np.abs(first_D)
        known_D = np.isfinite(depth_D) & (depth_D > 0)
        return cls(
            first_D=first_D,
            inverse_D=np.divide(1.0, depth_D, out=np.zeros_like(first_D), where=known_D),
        )

    def additive(self, scores_D: Vector) -> Vector:
        """z(S)."""
        used_D = np.minimum((scores_D - self.first_D) * self.inverse_D, 1 - _NEAREST)
        additive_D = np.divide(
            -np.log1p(-used_D), self.inverse_D, out=scores_D - self.first_D, where=self.inverse_D > 0
        )
        return self.first_D + additive_D

    def slope(self, additive_D: Vector) -> Vector:
        """dS/dz."""
        return np.exp(np.minimum(-(additive_D - self.first_D) * self.inverse_D, _STEEPEST))

    def expected(self, additive_D: Vector, variance_D: Vector) -> tuple[Vector, Vector, Vector]:
        """Mean score where z is normal, and its derivatives by mean and variance of z."""
        exponent_D = -(additive_D - self.first_D) * self.inverse_D + variance_D * self.inverse_D**2 / 2
        slope_D = np.exp(np.minimum(exponent_D, _STEEPEST))
        gain_D = np.divide(
            1 - slope_D, self.inverse_D, out=additive_D - self.first_D, where=self.inverse_D > 0
        )
        return self.first_D + gain_D, slope_D, -slope_D * self.inverse_D / 2
