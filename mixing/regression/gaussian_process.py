"""A Gaussian process from log shares to values: Matern-5/2, one length scale per domain.

What a domain adds shrinks with its share, so the process lives on log(share + 1e-3), standardised.
Each value has its own length scales and noise, found by maximum marginal likelihood (Rasmussen and
Williams 2006, §5.4) with analytic gradients; its amplitude has a closed form. The search starts at
the scales that serve all values at once. A log-normal prior on the scales, whose mean grows with
the number of domains (Hvarfner et al. 2024, arXiv 2402.02229), keeps fits to a few dozen runs from
following single domains. O(R^3) a gradient: 20 ms for 512 runs on one core, memory O(R^2).

Shapes: R runs, N domains, V values, C mixtures to predict.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, lapack
from scipy.optimize import minimize

from dmix.mixing.regression.tables import checked_runs
from dmix.mixing.space.domains import Array
from dmix.warehouse_schema.errors import InputError

# Shares below this hardly differ to the process.
_SMALLEST_SHARE = 1e-3
_ITERATIONS = 100
# Bounds of log length scales (inputs have standard deviation 1) and of the log ratio of noise to signal.
_SCALE_BOUNDS = (-3.0, 8.0)
_NOISE_BOUNDS = (-14.0, 4.0)
# Prior of a log length scale: normal with mean _PRIOR_MEAN + log(N) / 2. Chosen on subsets of 43 of
# RegMix's 512 training runs, where it ranks the other 469 best of six pairs that were tried.
_PRIOR_MEAN, _PRIOR_VARIANCE = 0.0, 1.0
# Added to the diagonal, so that its factor exists when two runs are the same.
_JITTER = 1e-8
# Mixtures predicted at a time.
_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """The processes of V values over the same runs.

    Attributes:
        centre_N, spread_N: Of the runs' log shares.
        inputs_RN: The runs, standardised.
        scales_VN: Length scales.
        weights_VR: Of the runs in the mean of each process, in units of the values.
        mean_V: Of the values.
    """

    centre_N: Array
    spread_N: Array
    inputs_RN: Array
    scales_VN: Array
    weights_VR: Array
    mean_V: Array

    def predict(self, mixtures_RN: Array) -> Array:
        """Means of the values of other mixtures, shape (C, V).

        Raises:
            InputError: If they have another number of domains.
        """
        if mixtures_RN.ndim != 2 or mixtures_RN.shape[1] != len(self.centre_N):
            raise InputError(
                f"mixtures have shape {mixtures_RN.shape}, expected (mixtures, {len(self.centre_N)})"
            )
        parts = [self._predict(mixtures_RN[at : at + _CHUNK]) for at in range(0, len(mixtures_RN), _CHUNK)]
        return np.concatenate(parts) if parts else np.empty((0, len(self.mean_V)))

    def _predict(self, mixtures_CN: Array) -> Array:
        inputs_CN = (_log_shares(mixtures_CN) - self.centre_N) / self.spread_N
        columns = [
            matern(_squared_distances(inputs_CN / scales_N, self.inputs_RN / scales_N))[0] @ weights_R
            for scales_N, weights_R in zip(self.scales_VN, self.weights_VR, strict=True)
        ]
        return np.stack(columns, axis=1) + self.mean_V


def fit_gaussian_process(mixtures_RN: Array, values_RV: Array) -> GaussianProcess:
    """A process for each value; deterministic.

    Raises:
        InputError: If the arrays do not fit each other.
    """
    mixtures_RN, values_RV = checked_runs(mixtures_RN, values_RV)
    logs_RN = _log_shares(mixtures_RN)
    centre_N, spread_N = logs_RN.mean(0), logs_RN.std(0)
    spread_N = np.where(spread_N > 0, spread_N, 1.0)
    inputs_RN = (logs_RN - centre_N) / spread_N
    mean_V, std_V = values_RV.mean(0), values_RV.std(0)
    # A value that never changes has its mean everywhere: any scale will do.
    wanted_RV = (values_RV - mean_V) / np.where(std_V > 0, std_V, 1.0)
    changing_V = std_V > 0
    domains = inputs_RN.shape[1]
    start = np.append(np.full(domains, _PRIOR_MEAN + 0.5 * math.log(domains)), math.log(1e-2))
    shared = _search(start, inputs_RN, wanted_RV[:, changing_V]) if changing_V.any() else start
    scales, weights = [], []
    for value, changing in enumerate(changing_V):
        found = _search(shared, inputs_RN, wanted_RV[:, [value]]) if changing else shared
        scales.append(np.exp(found[:-1]))
        weights.append(_weights(found, inputs_RN, wanted_RV[:, value]) * std_V[value])
    return GaussianProcess(centre_N, spread_N, inputs_RN, np.stack(scales), np.stack(weights), mean_V)


def negative_log_evidence(parameters: Array, inputs_RN: Array, wanted_RV: Array) -> tuple[float, Array]:
    """-log p(values, scales) up to a constant, and its gradient.

    With K = Matern(scales) + noise * I and the amplitude a_v = y' K^-1 y / R at its maximum:
    sum_v (R / 2) log a_v + (V / 2) log |K| - log prior.

    Args:
        parameters: N log length scales, then the log ratio of noise to signal.
        inputs_RN: Standardised inputs.
        wanted_RV: Standardised values, which share the parameters; each has its own amplitude.
    """
    runs, values = wanted_RV.shape
    domains = inputs_RN.shape[1]
    scaled_RN = inputs_RN * np.exp(-parameters[:-1])
    kernel_RR, slope_RR = matern(_squared_distances(scaled_RN, scaled_RN))
    noise = math.exp(parameters[-1])
    kernel_RR[np.diag_indices(runs)] += noise + _JITTER
    factor_RR, failed = lapack.dpotrf(kernel_RR, lower=1)
    if failed:
        return 1e25, np.zeros_like(parameters)
    solved_RV = cho_solve((factor_RR, True), wanted_RV)
    amplitude_V = np.maximum(np.einsum("rv,rv->v", wanted_RV, solved_RV) / runs, 1e-300)
    lower_RR = np.tril(lapack.dpotri(factor_RR, lower=1)[0])
    inverse_RR = lower_RR + np.tril(lower_RR, -1).T
    # d / dK, then the chain rule: K depends on log scale n through z_n^2 of scaled differences z.
    pull_RR = 0.5 * (values * inverse_RR - (solved_RV / amplitude_V) @ solved_RV.T)
    weight_RR = pull_RR * slope_RR
    away_N = (parameters[:-1] - _PRIOR_MEAN - 0.5 * math.log(domains)) / _PRIOR_VARIANCE
    scale_slope_N = 2 * (
        (scaled_RN**2 * weight_RR.sum(1)[:, None]).sum(0)
        - np.einsum("rn,rn->n", scaled_RN, weight_RR @ scaled_RN)
    )
    evidence = (
        0.5 * runs * np.log(amplitude_V).sum()
        + values * np.log(np.diag(factor_RR)).sum()
        + 0.5 * values * _PRIOR_VARIANCE * (away_N**2).sum()
    )
    return float(evidence), np.append(scale_slope_N + values * away_N, noise * np.trace(pull_RR))


def matern(squared: Array) -> tuple[Array, Array]:
    """Matern-5/2 of squared distances, and -2 times its derivative by them."""
    scaled = np.sqrt(5.0 * squared)
    decay = np.exp(-scaled)
    slope = 5.0 / 3.0 * (1 + scaled) * decay
    return (1 + scaled + scaled**2 / 3) * decay, slope


def _search(start: Array, inputs_RN: Array, wanted_RV: Array) -> Array:
    """The parameters of highest evidence near `start`."""
    bounds = [_SCALE_BOUNDS] * inputs_RN.shape[1] + [_NOISE_BOUNDS]
    found: Any = minimize(
        negative_log_evidence,
        start,
        args=(inputs_RN, wanted_RV),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": _ITERATIONS},
    )
    best: Array = found.x
    return best


def _weights(parameters: Array, inputs_RN: Array, wanted_R: Array) -> Array:
    """K^-1 y."""
    scaled_RN = inputs_RN * np.exp(-parameters[:-1])
    kernel_RR, _ = matern(_squared_distances(scaled_RN, scaled_RN))
    kernel_RR[np.diag_indices(len(kernel_RR))] += math.exp(parameters[-1]) + _JITTER
    solved: Array = cho_solve(cho_factor(kernel_RR, lower=True), wanted_R)
    return solved


def _log_shares(mixtures_RN: Array) -> Array:
    return np.log(np.maximum(mixtures_RN, 0.0) + _SMALLEST_SHARE)


def _squared_distances(first_CN: Array, second_RN: Array) -> Array:
    squares = (first_CN**2).sum(1)[:, None] + (second_RN**2).sum(1)[None] - 2 * first_CN @ second_RN.T
    return np.maximum(squares, 0.0)
