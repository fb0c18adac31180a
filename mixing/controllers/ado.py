"""Adaptive Data Optimization (Jiang et al. 2024, arXiv 2410.11820): draw where loss still falls.

For each domain a scaling law L_k(n) = e_k + b_k n^(-a_k) of its training loss over the n samples of
the run so far is fitted in the run. With the prior mu (natural shares):

    rho_k(t)  is proportional to  mu_k * h_k(t)^s * a_k b_k n^(-a_k - 1)      preference, at least delta
    h(t)      = g1 * pi(t-1) + (1 - g1) * h(t-1)                              credit: what was drawn
    pi(t)     = g2 * rho(t) + (1 - g2) * (mean of mu and of rho before t)     what is drawn next

with s = 1/2, g1 = g2 = 0.1, delta = 0.01.

Departures: the law is fitted to the mean losses of steps by least squares, exponents on a grid, e and b
at least 0 and in closed form (the authors minimise a Huber loss of log-losses by L-BFGS from a grid, and
smooth single batches first). Time runs in steps, so the averages span steps. The first three steps draw
from mu, since the law has three parameters; a domain with fewer losses is taken to learn as fast as
the others do on average. delta is at most half of an even share, or 52 domains would leave no choice.
Shapes: N domains, T steps done, G exponents.
"""

from typing import NamedTuple

import numpy as np

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse

CREDIT_RATE, POLICY_RATE, CREDIT_POWER, LEAST_SHARE = 0.1, 0.1, 0.5, 0.01
# The authors bound the exponent to the same range.
EXPONENTS_G = np.linspace(0.05, 0.8, 16)
WARM_UP_STEPS = 3


class ScalingLaws(NamedTuple):
    """L(n) = floor + scale * n^(-exponent), one for each step and domain; NaN where none can be fitted.

    Attributes:
        floor_TN, scale_TN, exponent_TN: Fitted to the losses up to and with each step.
    """

    floor_TN: Array
    scale_TN: Array
    exponent_TN: Array

    def slope(self, samples_T: Array) -> Array:
        """-dL/dn after a number of samples, nats per token and sample, shape (T, N)."""
        n_T1 = samples_T[:, None]
        slope: Array = self.exponent_TN * self.scale_TN * n_T1 ** (-self.exponent_TN - 1)
        return slope


class AdoController:
    """Natural shares for three steps, then what the fitted laws say."""

    name = "ado"
    # Laws are fitted to all losses, and the policy is averaged over the whole run.
    context = None

    def propose(self, history: History) -> Proposal:
        prior_N = history.space.natural_N
        samples_T = history.counts_TN[1:].sum(1).cumsum().astype(np.float64)
        if history.step <= WARM_UP_STEPS:
            return Proposal(prior_N.copy())
        # The loss of a step belongs to its middle.
        middles_T = samples_T - history.counts_TN[1:].sum(1) / 2
        slope_TN = fit_laws(middles_T, history.losses_TN[1:]).slope(samples_T)
        credits_TN = credits(history.mixtures_TN[1:], prior_N)
        preferences_TN = [
            prior_N if row + 1 < WARM_UP_STEPS else preference(slope_TN[row], credits_TN[row], prior_N)
            for row in range(history.step - 1)
        ]
        # Decisions so far, the first of which knew the prior alone.
        mean_N = np.mean([prior_N, *preferences_TN[:-1]], axis=0)
        mixture_N = POLICY_RATE * preferences_TN[-1] + (1 - POLICY_RATE) * mean_N
        return Proposal(mixture_N / mixture_N.sum())


def fit_laws(samples_T: Array, losses_TN: Array) -> ScalingLaws:
    """The law of each domain as it was after each step.

    Sums over steps are kept running, so that all T fits cost O(T * N * G).

    Args:
        samples_T: Samples that the run had drawn when a loss was taken, above 0.
        losses_TN: Nats a token; NaN where a domain had no sample.

    Returns:
        NaN where a domain has fewer than three losses.
    """
    known_TN = np.isfinite(losses_TN)
    y_TN = np.where(known_TN, losses_TN, 0.0)
    count_TN, y1_TN, y2_TN = (np.cumsum(v, 0) for v in (known_TN.astype(float), y_TN, y_TN**2))
    best_TN = np.full(losses_TN.shape, np.inf)
    found = [np.full(losses_TN.shape, np.nan) for _ in range(3)]
    for exponent in EXPONENTS_G:
        x_TN = np.where(known_TN, samples_T[:, None] ** -exponent, 0.0)
        x1_TN, x2_TN, xy_TN = (np.cumsum(v, 0) for v in (x_TN, x_TN**2, x_TN * y_TN))
        floor_TN, scale_TN = _least_squares(count_TN, x1_TN, x2_TN, y1_TN, xy_TN)
        error_TN = (
            y2_TN
            + scale_TN**2 * x2_TN
            + floor_TN**2 * count_TN
            + 2 * (floor_TN * scale_TN * x1_TN - scale_TN * xy_TN - floor_TN * y1_TN)
        )
        better_TN = (count_TN >= WARM_UP_STEPS) & (error_TN < best_TN)
        best_TN = np.where(better_TN, error_TN, best_TN)
        for old_TN, new_TN in zip(found, (floor_TN, scale_TN, np.full_like(x_TN, exponent)), strict=True):
            old_TN[better_TN] = new_TN[better_TN]
    return ScalingLaws(*found)


def _least_squares(n: Array, x1: Array, x2: Array, y1: Array, xy: Array) -> tuple[Array, Array]:
    """Floor and scale of y = floor + scale * x from sums, both at least 0."""
    n, determinant = np.maximum(n, 1.0), n * x2 - x1**2
    safe = np.where(determinant > 0, determinant, 1.0)
    scale = np.where(determinant > 0, (n * xy - x1 * y1) / safe, 0.0)
    floor = (y1 - scale * x1) / n
    # A negative scale: the loss does not fall, and the law is flat. A negative floor: it is 0.
    through_origin = np.where(x2 > 0, xy / np.where(x2 > 0, x2, 1.0), 0.0)
    scale = np.where(scale < 0, 0.0, np.where(floor < 0, through_origin, scale))
    floor = np.where(scale == 0, y1 / n, np.maximum(floor, 0.0))
    return floor, scale


def credits(mixtures_TN: Array, prior_N: Vector) -> Array:
    """h after each step: the moving average of what was drawn, from the prior on."""
    found, credit_N = [], prior_N
    for mixture_N in mixtures_TN:
        credit_N = CREDIT_RATE * mixture_N + (1 - CREDIT_RATE) * credit_N
        found.append(credit_N)
    return np.array(found)


def preference(slope_N: Vector, credits_N: Vector, prior_N: Vector) -> Vector:
    """rho, shape (N,), sum 1; the prior where no domain learns."""
    active_N = prior_N > 0
    known_N = active_N & np.isfinite(slope_N)
    mean = slope_N[known_N].mean() if known_N.any() else 0.0
    raw_N = prior_N * credits_N**CREDIT_POWER * np.where(known_N, slope_N, mean)
    if raw_N.sum() <= 0:
        return prior_N
    least = min(LEAST_SHARE, 0.5 / active_N.sum())
    raised_N = np.where(active_N, np.maximum(raw_N / raw_N.sum(), least), 0.0)
    result: Vector = raised_N / raised_N.sum()
    return result


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return AdoController()
