"""A value as a linear function of log shares, by ridge regression: few runs are enough for it.

value = a + sum_d b_d log(share_d + 0.001). The penalty on b, over standardised columns, is the one of a grid
with the smallest leave-one-out error, which has a closed form. Laws of this kind: arXiv 2403.16952, whose
exponential of shares is `exponential.py`; here the logarithm makes a small domain's doubling count as much as
a large one's.
"""

from dataclasses import dataclass

import numpy as np

from dmix.mixing.regression.tables import checked_runs
from dmix.mixing.space.domains import Array

_LEAST_SHARE = 1e-3
_PENALTIES = np.geomspace(1e-4, 1e4, 17)


@dataclass(frozen=True, eq=False)
class LogLinear:
    """The coefficients of V values.

    Attributes:
        centre_N: Mean of the log shares.
        mean_V: Mean of the values.
        slope_NV: b.
    """

    centre_N: Array
    mean_V: Array
    slope_NV: Array

    def predict(self, mixtures_RN: Array) -> Array:
        """Values of mixtures, shape (R, V)."""
        return self.mean_V + (_log_shares(mixtures_RN) - self.centre_N) @ self.slope_NV


def fit_log_linear(mixtures_RN: Array, values_RV: Array) -> LogLinear:
    """One regression a value, each with a penalty of its own.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    mixtures_RN, values_RV = checked_runs(mixtures_RN, values_RV)
    logs_RN = _log_shares(mixtures_RN)
    centre_N, spread_N = logs_RN.mean(0), logs_RN.std(0)
    unit_N = np.where(spread_N > 0, spread_N, 1.0)
    left_RK, singular_K, right_KN = np.linalg.svd((logs_RN - centre_N) / unit_N, full_matrices=False)
    rows_VN = [
        right_KN.T @ _best_ridge(left_RK, singular_K, values_R - values_R.mean()) / unit_N
        for values_R in values_RV.T
    ]
    return LogLinear(centre_N, values_RV.mean(0), np.stack(rows_VN, axis=1))


def _best_ridge(left_RK: Array, singular_K: Array, wanted_R: Array) -> Array:
    """Coefficients on the right singular vectors, shape (K,), under the best penalty."""
    runs = len(wanted_R)
    found: tuple[float, Array] | None = None
    for penalty in _PENALTIES:
        kept_K = singular_K**2 / (singular_K**2 + penalty)
        fitted_R = left_RK @ (kept_K * (left_RK.T @ wanted_R))
        # 1 / R is the leverage of the mean, which is fitted, too
        leverage_R = (left_RK**2) @ kept_K + 1 / runs
        error = float((((wanted_R - fitted_R) / np.maximum(1 - leverage_R, 1e-9)) ** 2).mean())
        if found is None or error < found[0]:
            found = error, singular_K / (singular_K**2 + penalty) * (left_RK.T @ wanted_R)
    assert found is not None
    return found[1]


def _log_shares(mixtures_RN: Array) -> Array:
    logs_RN: Array = np.log(np.asarray(mixtures_RN, np.float64) + _LEAST_SHARE)
    return logs_RN
