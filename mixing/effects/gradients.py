"""The gradient estimator: what a run with more of a domain's text does to each objective.

To first order a_{d,o} = -R <grad S_o, P (grad L_d - sum_j n_j grad L_j)>, with S_o the mean score of the
items, L_d the mean loss per token of domain d, P = diag(1 / (sqrt(v) + eps)) as AdamW scales gradients,
and R the sum of the run's learning rates, in nats per token per unit of share. A run is no small step:
what all domains teach alike is learnt long before its end. So (P^-1 / R + H)^-1 takes the place of R P,
H = sum_d n_d mean_b g_db g_db^T over the batches of the domains (empirical Fisher). Where H is small
it is the first order; where a run would overshoot, it is the step that ends at the minimum.

Departs from method.md section 8, which has R P alone: that promised thousands of nats (docs/log.md).

The passes that need a model are in `dmix.training.scoring.gradients`; here is what is made of their
inner products. Shapes: N domains, D objectives, B batches of a domain, M = N B batches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.effects import centred
from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.sizes import num_text

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GradientBudget:
    """How much text each gradient is taken over.

    Attributes:
        batches: B, batches of each domain; their spread is the standard error.
        samples: Samples of each of them.
        items: Most items of an objective; None for all.
        tokens: Tokens of all passes, forward and backward.
    """

    batches: int
    samples: int
    items: int | None
    tokens: int


def gradient_budget(
    *,
    tokens: float,
    seq_len: int,
    domains: int,
    item_tokens_D: Vector,
    items_D: Vector,
    fix: str = "raise --max-hours, or use --estimator counts",
) -> GradientBudget:
    """A budget of at most so many tokens; half of them for the items.

    Args:
        tokens: What there is time for.
        seq_len: Tokens of a sample.
        domains: Number of domains with samples.
        item_tokens_D: Tokens of all items of each objective, prompts included.
        items_D: Number of items of each objective.
        fix: What helps where that is too little.

    Raises:
        InputError: If not even two samples of each domain and two items of each objective fit.
    """
    kept = min(1.0, tokens / 2 / item_tokens_D.sum())
    items = None if kept == 1 else int(kept * items_D.min())
    spent = float((item_tokens_D * (1 if items is None else np.minimum(1, items / items_D))).sum())
    samples = int((tokens - spent) / seq_len / (domains + 1))
    if samples < 2 or (items is not None and items < 2):
        raise InputError(
            f"{num_text(round(tokens), 'token')} of gradients are too few for {num_text(domains, 'domain')} "
            f"and {num_text(len(items_D), 'objective')}; {fix}"
        )
    batches = min(4, samples)
    each = min(64, samples // batches)
    total = int(spent) + (domains + 1) * batches * each * seq_len
    return GradientBudget(batches=batches, samples=each, items=items, tokens=total)


def gradient_effects(
    products_NBD: Array, gram_MM: Array, natural_N: Vector, *, rate_sum: float
) -> tuple[Array, Array]:
    """Effects and their standard errors, shape (N, D) both; see `error_matrices`.

    The error is that of the domains' batches; which items an objective has adds to it, and is not
    in it.

    Args:
        products_NBD: <grad S_o, P grad L> of every batch of each domain; 0 for domains without samples.
        gram_MM: <grad L, P grad L> of every two batches, domain by domain.
        natural_N: n.
        rate_sum: R, sum of the learning rates of all updates of the run that the effects are for.
    """
    batches = products_NBD.shape[1]
    moved_NBD = bounded_steps(products_NBD, gram_MM, natural_N, rate_sum=rate_sum)
    effect_ND = centred(-moved_NBD.mean(1), natural_N)
    stderr_ND = moved_NBD.std(1, ddof=1) / np.sqrt(batches)
    return effect_ND, stderr_ND


def error_matrices(stderr_ND: Array, natural_N: Vector) -> tuple[Array, ...]:
    """Error matrices (N, N) of each objective, as `Effects` holds them, of independent errors of domains.

    Relative to the natural mean, an error of one domain moves all others a little.
    """
    active_N = natural_N > 0
    apart_NN = np.where(np.outer(active_N, active_N), np.eye(len(natural_N)) - natural_N[:, None], 0.0)
    return tuple(stderr_D[:, None] * apart_NN for stderr_D in stderr_ND.T)


def bounded_steps(products_NBD: Array, gram_MM: Array, natural_N: Vector, *, rate_sum: float) -> Array:
    """<grad S_o, (P^-1 / R + H)^-1 grad L> of every batch, shape (N, B, D).

    With the batches' gradients as rows of G and W = diag(n_d / B), H = G^T W G, and by the Woodbury
    identity the products are R (I + R G P G^T W)^-1 G P s: no matrix of weights is needed.
    """
    batches = products_NBD.shape[1]
    weight_M = np.repeat(natural_N / batches, batches)
    flat_MD = products_NBD.reshape(len(weight_M), -1)
    found_MD = rate_sum * np.linalg.solve(np.eye(len(weight_M)) + rate_sum * gram_MM * weight_M, flat_MD)
    result: Array = found_MD.reshape(products_NBD.shape)
    return result
