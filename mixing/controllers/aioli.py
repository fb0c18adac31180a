"""Aioli style (Chen et al. 2024, arXiv 2411.05735): a linear law of how domains lower each other's loss.

The law says L_i(t+1) = L_i(t) - sum_j A_ij p_j(t). Given A, the weights follow the exponentiated gradient
of the mean loss:

    p_j <- p_j exp(eta K c_j) / sum,    c = column sums of A,  A shifted to be at least 0 and scaled to sum 1

Departures: Aioli estimates A by sweeps in every round, short trainings on almost one domain each. Here
A comes from the history of the run alone, without a single extra batch. Every mixture is tilted a little
by seeded noise (factor exp(0.3 z), z normal, another one each step), and the drop of each domain's training
loss between two steps is regressed on the mean mixture of the two, by ridge regression towards "all domains
help alike", over the last 32 steps. Step size eta = 0.2 and the factor K, which keeps a step as large in 52
domains as in 2, are ours. The weights that a step starts from are those the last one planned, its tilt taken
out. Shapes: K active domains, T rows of history, W differences.
"""

import numpy as np

from dmix.mixing.controllers.interface import Controller, Proposal
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse

STEP_SIZE, TILT, WINDOW = 0.2, 0.3, 32
# Weight of the even mixture, so that no domain is lost for good.
_SMOOTHING = 1e-3


class AioliController:
    """Exponentiated gradient on a law that is fitted to the last steps; even weights at step 1."""

    name = "aioli"
    context = WINDOW + 1

    def propose(self, history: History) -> Proposal:
        active_N = history.space.active_N
        size = int(active_N.sum())
        weights_K = np.full(size, 1 / size)
        rows = min(WINDOW + 1, len(history.mixtures_TN) - 1)
        if rows:
            mixtures_TK = history.mixtures_TN[-rows:, active_N]
            before_K = mixtures_TK[-1] / tilt(size, seed=history.seed, step=history.step - 1)
            effect_KK = estimate(mixtures_TK, history.losses_TN[-rows:, active_N])
            weights_K = ascend(before_K / before_K.sum(), effect_KK)
        tilted_K = weights_K * tilt(size, seed=history.seed, step=history.step)
        mixture_N = np.zeros(len(active_N))
        mixture_N[active_N] = (1 - _SMOOTHING) * tilted_K / tilted_K.sum() + _SMOOTHING / size
        return Proposal(mixture_N / mixture_N.sum())


def tilt(size: int, *, seed: int, step: int) -> Vector:
    """The factors that a step's weights are multiplied by, shape (K,)."""
    noise = np.random.default_rng([abs(seed), step]).standard_normal(size)
    return np.exp(TILT * noise)


def estimate(mixtures_TK: Array, losses_TK: Array) -> Array:
    """A, shape (K, K): by how many nats per token a step on domain j alone lowers the loss of domain i.

    Rows without two losses in a row are 0: such a domain speaks for no other.

    Args:
        mixtures_TK: Mixtures of steps that follow each other.
        losses_TK: Their training losses; NaN where a domain had no sample.
    """
    size = mixtures_TK.shape[1]
    effect_KK = np.zeros((size, size))
    # The loss of a step is that of its middle: half of each of two steps lies between.
    between_WK = (mixtures_TK[1:] + mixtures_TK[:-1]) / 2
    drops_WK = losses_TK[:-1] - losses_TK[1:]
    for i in range(size):
        known_W = np.isfinite(drops_WK[:, i])
        if not known_W.any():
            continue
        drop_W, mixture_WK = drops_WK[known_W, i], between_WK[known_W]
        mean_K = mixture_WK.mean(0)
        centred_WK = mixture_WK - mean_K
        gram_WW = centred_WK @ centred_WK.T
        penalty = max(float(np.trace(gram_WW)) / len(gram_WW), 1e-12)
        duals_W = np.linalg.solve(gram_WW + penalty * np.eye(len(gram_WW)), drop_W - drop_W.mean())
        slope_K = centred_WK.T @ duals_W
        effect_KK[i] = drop_W.mean() + slope_K - slope_K @ mean_K
    return effect_KK


def ascend(weights_K: Vector, effect_KK: Array) -> Vector:
    """The weights one step further up, shape (K,), sum 1; unchanged where the law knows no difference."""
    shifted_KK = effect_KK - min(0.0, float(effect_KK.min()))
    total = float(shifted_KK.sum())
    if total <= 0:
        return weights_K
    exponents_K = STEP_SIZE * len(weights_K) * shifted_KK.sum(0) / total
    raised_K = weights_K * np.exp(exponents_K - exponents_K.max())
    result: Vector = raised_K / raised_K.sum()
    return result


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """For `make_controller`."""
    return AioliController()
