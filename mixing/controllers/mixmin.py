"""MixMin (Thudi et al. 2025, arXiv 2502.10510): the mixture of domain models that explains the items best.

With one model p_d for each domain, a model of the mixture rho is taken to be sum_d rho_d p_d, and rho
minimises the items' cross entropy per token, which is convex:

    minimise  - sum_o w_o mean over the items of o of  log(sum_d rho_d p_d(item)) / tokens

with w_o in proportion to lambda_o / s_o.

Departures. The models are those of stored effects: of probes, one for each mixture that was probed, so
that weights of models are weights of mixtures; of counts, bigrams of each domain. MixMin trains a proxy
on each domain alone, and has one objective. It descends by exponentiated gradient; here weights are
multiplied by their mean responsibility (the EM of mixture weights), which never makes it worse and needs
no step size: the largest of these factors, less 1, bounds what is left to gain. MixMin knows no supply;
the run's rule for exhausted domains does the rest. Shapes: I items, R scored tokens, A active domains, K
models, N domains.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from dmix.mixing.controllers.fixed import constant
from dmix.mixing.controllers.interface import Controller
from dmix.mixing.controllers.plan import KeptPlan
from dmix.mixing.effects.counts import CountModel
from dmix.mixing.effects.store import StoredEffects, fitting_effects
from dmix.mixing.space.domains import Array, DomainSpace, Vector
from dmix.mixing.space.simplex import masked_mixture
from dmix.mixing.trajectories.encoding import encode_item, load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment, read_items
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import DatasetManifest, read_dataset_manifest

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


def probe_chances(
    rows: Sequence[Mapping[str, Any]], tokens: Mapping[tuple[str, str], int], probes: Sequence[str]
) -> tuple[Array, list[tuple[str, str]]]:
    """(log-probabilities of items by each probed model (I, K), (objective, item) of the rows).

    Controls are trained on the same mixture, natural mixing: they are one model, the mean of theirs, and the
    first of K.

    Args:
        rows: `probe`, `objective`, `item` and `score`, nats per token, of every item by every probe.
        tokens: Scored tokens of each item.
        probes: Names of the others than controls, in order.
    """
    score = {(row["probe"], row["objective"], row["item"]): float(row["score"]) for row in rows}
    controls = sorted({row["probe"] for row in rows if row["probe"].startswith("control")})
    items = [key for key in tokens if (controls[0], *key) in score]

    def column(probe: str) -> Vector:
        return np.array([score[probe, *key] * tokens[key] for key in items])

    natural_I = np.logaddexp.reduce([column(name) for name in controls]) - np.log(len(controls))
    return np.column_stack([natural_I, *(column(name) for name in probes)]), items


def item_weights(
    items: Sequence[tuple[str, str]], tokens: Mapping[tuple[str, str], int], share: Mapping[str, float]
) -> Vector:
    """Weight of each item, shape (I,): its objective's, shared by items and divided by the item's tokens.

    Args:
        items: (objective, id) of each item.
        tokens: Scored tokens of each item.
        share: Weight of each objective.
    """
    number = Counter(objective for objective, _ in items)
    return np.array([share[o] / (number[o] * tokens[o, item]) for o, item in items])


def probed_mixtures(probes: Sequence[Mapping[str, Any]], space: DomainSpace) -> tuple[list[str], Array]:
    """(names of the probes that are no controls, mixtures (K, N), the first of them natural).

    Args:
        probes: `probe`, `domains` and `dose` of each, as effects keep them.
        space: The domain space.
    """
    index = {"/".join(name): number for number, name in enumerate(space.names)}
    names, mixtures = [], [space.natural_N]
    for probe in probes:
        if not probe["domains"]:
            continue
        group_N = np.zeros(len(space))
        group = [index[name] for name in probe["domains"]]
        group_N[group] = space.natural_N[group] / space.natural_N[group].sum()
        names.append(str(probe["probe"]))
        mixtures.append((1 - probe["dose"]) * space.natural_N + probe["dose"] * group_N)
    return names, np.stack(mixtures)


@dataclass(frozen=True, eq=False)
class _Experts:
    """What MixMin is given.

    Attributes:
        log_chance_IK: Log-probability of each item by each model.
        weight_I: Weight of each item, above 0.
        mixture_KN: What each model was trained on.
    """

    log_chance_IK: Array
    weight_I: Vector
    mixture_KN: Array


def plan(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> KeptPlan:
    """The mixture by the effects NAME, or by the newest that fit the domains; kept with the effects.

    Raises:
        NotFoundError: If there are no such effects.
        InputError: If they are of other domains, or hold no probabilities of items.
    """
    stored = fitting_effects(warehouse, space, name=argument or None)
    experts = _experts(stored, warehouse=warehouse, space=space)

    def fit(progress: Callable[[str], None]) -> dict[str, Any]:
        weight_K, gap = mixmin(experts.log_chance_IK, experts.weight_I)
        progress(
            f"mixmin: the cross entropy of the items is at most {gap:.1e} nats per token above its minimum"
        )
        return {"mixture": (weight_K @ experts.mixture_KN).tolist(), "gap": gap}

    return KeptPlan(
        warehouse=warehouse,
        set_name=stored.name,
        kind="mixmin",
        arrays=(experts.log_chance_IK, experts.weight_I, experts.mixture_KN),
        settings={"tolerance": _TOLERANCE},
        fit=fit,
    )


def _experts(stored: StoredEffects, *, warehouse: Warehouse, space: DomainSpace) -> _Experts:
    """The models of stored effects, by counts or by probes."""
    share_D = stored.environment.weights_D / stored.environment.scales_D
    share_D = share_D / share_D.sum()
    scores = warehouse.effects(stored.name) / "items.parquet"
    if stored.counts is not None:
        log_chance_IA, weight_I = item_chances(stored.counts, share_D)
        found = _Experts(log_chance_IA, weight_I, np.eye(len(space))[stored.counts.active])
    elif scores.is_file():
        names, mixture_KN = probed_mixtures(stored.facts["probes"], space)
        manifest = read_dataset_manifest(warehouse, stored.effects.dataset)
        tokens = scored_tokens(stored.environment, manifest, warehouse)
        log_chance_IK, items = probe_chances(pq.read_table(scores).to_pylist(), tokens, names)
        share = dict(zip(stored.effects.objectives, share_D, strict=True))
        found = _Experts(log_chance_IK, item_weights(items, tokens, share), mixture_KN)
    else:
        raise InputError(
            f"effects {stored.name!r} have no probabilities of items, but mixmin needs them; run 'dmix "
            "mix probe' with --estimator counts or --estimator probe"
        )
    used_I = found.weight_I > 0
    return replace(found, log_chance_IK=found.log_chance_IK[used_I], weight_I=found.weight_I[used_I])


def scored_tokens(
    environment: Environment, manifest: DatasetManifest, warehouse: Warehouse
) -> dict[tuple[str, str], int]:
    """Scored tokens of each item, by (objective, id); choices, whose score is one number an item, have 1.

    Args:
        environment: The objectives.
        manifest: The dataset, whose tokenizer counts.
        warehouse: Holds the dataset.
    """
    tokenizer = load_tokenizer_file(warehouse.stream(manifest.dataset) / "tokenizer.json", manifest.tokenizer)
    eot_id, longest = manifest.tokenizer.eot_id, manifest.seq_len
    return {
        (objective.name, item.item_id): 1
        if item.choices
        else encode_item(item, tokenizer=tokenizer, eot_id=eot_id, max_length=longest).answer_tokens
        for objective in environment.objectives
        for item in read_items(objective, environment.folder)
    }


def make(argument: str, *, warehouse: Warehouse, space: DomainSpace) -> Controller:
    """The mixture that was prepared."""
    kept = plan(argument, warehouse=warehouse, space=space)
    mixture_N = masked_mixture(np.array(kept.read()["mixture"]), space)
    return constant(mixture_N, name=f"mixmin:{kept.set_name}")
