"""Data mixing laws: value = c + exp(b + t . shares), one law a value (arXiv 2403.16952).

Fitted by Huber's loss and L-BFGS, as the paper does. It has N + 2 parameters a value, so that a
few dozen runs are enough, and it extrapolates; but it knows no interplay of domains beyond the
exponential.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from dmix.mixing.regression.tables import checked_runs
from dmix.mixing.space.domains import Array

# Errors beyond this, in deviations of the value, count linearly.
_HUBER = 0.1
_ITERATIONS = 2000
# Keeps exp() finite while L-BFGS looks around.
_LARGEST_EXPONENT = 30.0
# Weight of |t|^2: shares sum to 1, which leaves b and t undetermined up to a constant.
_RIDGE = 1e-6


@dataclass(frozen=True, eq=False)
class MixingLaws:
    """The laws of V values.

    Attributes:
        sign_V: -1 where a value is high when a loss would be low.
        constant_V: c, after the sign.
        bias_V: b.
        slope_VN: t.
    """

    sign_V: Array
    constant_V: Array
    bias_V: Array
    slope_VN: Array

    def predict(self, mixtures_RN: Array) -> Array:
        """Values of mixtures, shape (R, V)."""
        return self.sign_V * (self.constant_V + np.exp(self.bias_V + mixtures_RN @ self.slope_VN.T))


def fit_exponential(mixtures_RN: Array, values_RV: Array) -> MixingLaws:
    """The law of each value; of both signs of it, the one that fits better.

    Losses follow the law, utilities its negative.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    mixtures_RN, values_RV = checked_runs(mixtures_RN, values_RV)
    laws = [
        min((_fit_law(mixtures_RN, sign * values_R, sign) for sign in (1.0, -1.0)), key=lambda law: law[0])
        for values_R in values_RV.T
    ]
    _, sign_V, parameters_VP = zip(*laws, strict=True)
    found_VP = np.stack(parameters_VP)
    return MixingLaws(np.array(sign_V), found_VP[:, 0], found_VP[:, 1], found_VP[:, 2:])


def _fit_law(mixtures_RN: Array, values_R: Array, sign: float) -> tuple[float, float, Array]:
    """(loss of the fit, sign, [c, b, t])."""
    centre, spread = values_R.mean(), values_R.std() or 1.0
    wanted_R = (values_R - centre) / spread
    design_RB = np.column_stack([np.ones(len(mixtures_RN)), mixtures_RN])
    constant = wanted_R.min() - 1.0
    slope_B = np.linalg.lstsq(design_RB, np.log(wanted_R - constant), rcond=None)[0]

    def loss(parameters: Array) -> tuple[float, Array]:
        rise_R = np.exp(np.clip(design_RB @ parameters[1:], -_LARGEST_EXPONENT, _LARGEST_EXPONENT))
        error_R = parameters[0] + rise_R - wanted_R
        pull_R = np.clip(error_R, -_HUBER, _HUBER)
        huber = (pull_R * (error_R - pull_R / 2)).mean() + _RIDGE * (parameters[1:] ** 2).sum()
        slope = design_RB.T @ (pull_R * rise_R) / len(rise_R) + 2 * _RIDGE * parameters[1:]
        return float(huber), np.concatenate([[pull_R.mean()], slope])

    found = minimize(
        loss, [constant, *slope_B], jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}
    )
    parameters = found.x.copy()
    # Back to the unit of the values: spread * exp(b + …) = exp(b + log spread + …).
    parameters[0] = centre + spread * parameters[0]
    parameters[1] += np.log(spread)
    return float(found.fun), sign, parameters
