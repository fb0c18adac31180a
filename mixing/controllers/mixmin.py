"""MixMin (Thudi et al. 2025, arXiv 2502.10510): the mixture of domain models that explains the items best.

With one model p_d for each domain, a model of the mixture rho is taken to be sum_d rho_d p_d, and rho
minimises the items' cross entropy per token, which is convex:

    minimise  - sum_o w_o mean over the items of o of  log(sum_d rho_d p_d(item)) / tokens

with w_o in proportion to lambda_o / s_o.

Departures. The models are the bigram counts of stored effects, where MixMin trains a small proxy for
each domain; and there are several objectives where it has one. It descends by exponentiated gradient;
here weights are multiplied by their mean responsibility (the EM of mixture weights), which never makes
it worse and needs no step size: the largest of these factors, less 1, bounds what is left to gain.
MixMin knows no supply; the run's rule for exhausted domains does the rest. Shapes: I items, R scored
tokens, A active domains.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.plan import KeptPlan
from dmix.mixing.effects.counts import CountModel
from dmix.mixing.effects.store import fitting_effects
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.simplex import masked_mixture
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

_TOLERANCE = 1e-6
_ITERATIONS = 20_000


def mixmin(log_chance_IA: Array, weight_I: Vector) -> tuple[Vector, float]:
    """The mixture with the least cross entropy, and how much less another one could have at most.

    Args:
        log_chance_IA: Log-probability of each item by the model of each domain, in nats.
        weight_I: Weight of each item, above 0.

    Returns:
        (mixture (A,), gap): no mixture is better by more than the gap, in the unit of the weighted sum.
    """
    chance_IA = np.exp(log_chance_IA - log_chance_IA.max(1, keepdims=True))
    total = weight_I.sum()
    mixture_A, gap = np.full(log_chance_IA.shape[1], 1 / log_chance_IA.shape[1]), np.inf
    for _ in range(_ITERATIONS):
        factor_A = (weight_I / total / (chance_IA @ mixture_A)) @ chance_IA
        gap = float(factor_A.max() - 1)
        if gap <= _TOLERANCE:
            break
        mixture_A = mixture_A * factor_A
        mixture_A /= mixture_A.sum()
    return mixture_A, gap * float(total)


def item_chances(counts: CountModel, share_D: Vector) -> tuple[Array, Vector]:
    """(log-probabilities of items by each active domain (I, A), weights of the items (I,)).

    An item weighs what one of its tokens weighs in its objective, so that long items count no more.

    Args:
        counts: Probabilities of the scored tokens.
        share_D: Weight of each objective.
    """
    tokens = counts.tokens
    same_R = np.diff(tokens.objective_R, prepend=-1) | np.diff(tokens.item_R, prepend=-1)
    starts_I = np.flatnonzero(same_R)
    log_chance_IA = np.add.reduceat(np.log(counts.p_RA.astype(np.float64)), starts_I, axis=0)
    return log_chance_IA, (tokens.weight_R * share_D[tokens.objective_R])[starts_I]


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> KeptPlan:
    """The mixture by the effects NAME, or by the newest that fit the domains; kept with the effects.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If they are of other domains, or hold no probabilities of items.
    """
    stored = fitting_effects(warehouse, space, name=argument or None)
    counts = stored.counts
    if counts is None:
        raise InputError(
            f"effects {stored.name!r} hold no probabilities of items by domain, which mixmin needs; run 'dmix"
            " mix probe --estimator counts'"
        )
    share_D = stored.environment.weights_D / stored.environment.scales_D
    log_chance_IA, weight_I = item_chances(counts, share_D / share_D.sum())
    used_I = weight_I > 0

    def fit(progress: Callable[[str], None]) -> dict[str, Any]:
        mixture_A, gap = mixmin(log_chance_IA[used_I], weight_I[used_I])
        progress(f"mixmin: within {gap:.1e} nats per token of the least cross entropy of the items")
        mixture_N = np.zeros(len(space))
        mixture_N[counts.active] = mixture_A
        return {"mixture": mixture_N.tolist(), "gap": gap}

    return KeptPlan(
        warehouse=warehouse,
        set_name=stored.name,
        kind="mixmin",
        arrays=(log_chance_IA, weight_I),
        settings={"tolerance": _TOLERANCE},
        fit=fit,
    )


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The mixture that was prepared."""
    kept = plan(argument, warehouse=warehouse, space=space)
    mixture_N = masked_mixture(np.array(kept.read()["mixture"]), space)
    return constant(mixture_N, name=f"mixmin:{kept.set_name}")
