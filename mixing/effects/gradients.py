"""The gradient estimator: what a small step on a domain's text does to each objective.

a_{d,o} = -<grad S_o, P (grad L_d - sum_j n_j grad L_j)>, with S_o the mean score of the items, L_d the
mean loss per token of domain d, and P = diag(1 / (sqrt(v) + eps)) as AdamW scales gradients. Times
the sum of a run's learning rates it is the gain in nats per token per unit of share, to first order.
The passes that need a model are in `dmix.training.farm.gradients`; here is what is made of their
inner products. Shapes: N domains, D objectives, B batches of a domain.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.effects.effects import centred
from dmix.mixing.space.domains import Vector
from dmix.warehouse_schema.errors import InputError

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
    *, tokens: float, seq_len: int, domains: int, item_tokens_D: Vector, items_D: Vector
) -> GradientBudget:
    """A budget of at most so many tokens; half of them for the items.

    Args:
        tokens: What there is time for.
        seq_len: Tokens of a sample.
        domains: Number of domains with samples.
        item_tokens_D: Tokens of all items of each objective, prompts included.
        items_D: Number of items of each objective.

    Raises:
        InputError: If not even two samples of each domain and two items of each objective fit.
    """
    kept = min(1.0, tokens / 2 / item_tokens_D.sum())
    items = None if kept == 1 else int(kept * items_D.min())
    spent = float((item_tokens_D * (1 if items is None else np.minimum(1, items / items_D))).sum())
    samples = int((tokens - spent) / seq_len / (domains + 1))
    if samples < 2 or (items is not None and items < 2):
        raise InputError(
            f"{tokens:,.0f} tokens of gradients are too few for {domains} domains and"
            f" {len(items_D)} objectives; raise --max-hours, or take the estimator counts"
        )
    batches = min(4, samples)
    each = min(64, samples // batches)
    total = int(spent) + (domains + 1) * batches * each * seq_len
    return GradientBudget(batches=batches, samples=each, items=items, tokens=total)


def gradient_effects(
    products_NBD: Array, natural_N: Vector, *, rate_sum: float
) -> tuple[Array, tuple[Array, ...]]:
    """Effects (N, D) and their error matrices, as `Effects` holds them.

    The error is that of the domains' batches; which items an objective has adds to it, and is not
    in it.

    Args:
        products_NBD: <grad S_o, P grad L> of every batch of each domain; 0 for domains without samples.
        natural_N: n.
        rate_sum: Sum of the learning rates of all updates of the run that the effects are for.
    """
    batches = products_NBD.shape[1]
    effect_ND = centred(-rate_sum * products_NBD.mean(1), natural_N)
    stderr_ND = rate_sum * products_NBD.std(1, ddof=1) / np.sqrt(batches)
    # relative to the natural mean, an error of one domain moves all others a little
    size = len(natural_N)
    active_N = natural_N > 0
    apart_NN = np.where(np.outer(active_N, active_N), np.eye(size) - natural_N[:, None], 0.0)
    errors = tuple(stderr_ND[:, index, None] * apart_NN for index in range(stderr_ND.shape[1]))
    return effect_ND, errors
