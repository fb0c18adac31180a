"""The tokens of the set agent: a run as a step, a set of domains and a set of objectives.

Every number means the same in any domain space: shares count within a field and relative to
natural ones, supplies relative to what natural drawing would take, scores in units of their s_i.
So nothing but the number of columns depends on N and D, and labels and names do not come in.

A token is one row of X = 9 + 8 N + 5 D numbers: those of the step, of every domain and of every
objective, in that order (`split_tokens` takes it apart). Agents that read effects have four more for
each domain. Shapes: B batch, T tokens (token i describes the state after step i, token 0 the start),
N (field, domain) pairs, D objectives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from dmix.mixing.agent.standardise import LARGEST_FEATURE
from dmix.mixing.space.domains import Array, DomainSpace, Vector

STEP_WIDTH, DOMAIN_WIDTH, OBJECTIVE_WIDTH = 9, 8, 5
# Columns of a domain's effects, for agents that read them.
EFFECT_WIDTH = 4
# Columns that the networks use by name: of a domain's features, and of an objective's.
FIELD, NATURAL, SHARE = 0, 1, 2
WEIGHT = 2

# Share of an earlier step that is still there a step later, in averages of the past.
_KEPT = (0.5, 0.9)
# Log-ratios are clipped here: a domain that is left out would be at minus infinity.
_LARGEST_LOG = 4.0
# A supply of twice what natural drawing takes is as good as endless.
_LARGEST_SUPPLY = 2.0
# log1p of the number of steps over this is about 1 for the longest runs.
_LOG_STEPS = 5.0
_ROLES = {"general": -1, "target": 1}

Parts = TypeVar("Parts", bound=Any)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObjectiveSpec:
    """What a set agent reads about the objectives, apart from their scores.

    Attributes:
        weights_D: Their lambda, summing to 1.
        roles_D: -1 for what must be kept (general), 1 for what is learnt (target), 0 if unknown.
        effects_N4: What domains do to them (`effect_columns`); None for agents that read no effects.
    """

    weights_D: Vector
    roles_D: NDArray[np.int64]
    effects_N4: Array | None = None

    @classmethod
    def of(cls, weights_D: Vector, roles: Sequence[str]) -> "ObjectiveSpec":
        """Objectives with the roles of an environment file; () leaves them unknown."""
        known = [_ROLES.get(role, 0) for role in roles] or [0] * len(weights_D)
        return cls(weights_D=np.asarray(weights_D), roles_D=np.array(known, dtype=np.int64))


def effect_columns(effect_ND: Array, stderr_ND: Array, *, value_D: Vector, roles: Sequence[str]) -> Array:
    """Effects as a set agent reads them: utility per unit of share and its standard error, by role; (N, 4).

    Args:
        effect_ND: Nats per token per unit of share.
        stderr_ND: Its standard error.
        value_D: lambda / s, utility per nat.
        roles: general or target, for each objective.
    """
    columns = []
    for role in _ROLES:
        own_D = np.where(np.array(roles) == role, value_D, 0.0)
        columns += [effect_ND @ own_D, np.sqrt(stderr_ND**2 @ own_D**2)]
    found: Array = np.arcsinh(np.stack(columns, axis=1)) / _LARGEST_LOG
    return found


def set_tokens(
    mixtures_TN: Array,
    feedback_TD: Array,
    *,
    space: DomainSpace,
    steps: int,
    left_T: NDArray[np.int64],
    remaining_TN: Array,
    objective_spec: ObjectiveSpec,
) -> NDArray[np.float32]:
    """The token of every state.

    Args:
        mixtures_TN: Planned mixtures, row 0 is rho_s.
        feedback_TD: Features (`dmix.mixing.agent.standardise`), not raw scores.
        space: Masks and natural shares.
        steps: M.
        left_T: Steps that remain.
        remaining_TN: Samples that each domain can still give, in units of R.
        objective_spec: Weights and roles of the D objectives.

    Returns:
        float32, shape (T, X), after any leading axes of runs.
    """
    leading = mixtures_TN.shape[:-1]
    domains = _domain_features(mixtures_TN, remaining_TN, left_T, space=space)
    if objective_spec.effects_N4 is not None:
        shape = (*domains.shape[:-1], EFFECT_WIDTH)
        domains = np.concatenate([domains, np.broadcast_to(objective_spec.effects_N4, shape)], axis=-1)
    parts = [
        _step_features(mixtures_TN, remaining_TN, left_T, space=space, steps=steps),
        domains.reshape(*leading, -1),
        _objective_features(feedback_TD, objective_spec).reshape(*leading, -1),
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def split_tokens(tokens: Parts, *, domains: int, effects: bool = False) -> tuple[Parts, Parts, Parts]:
    """Features of the step (…, 9), of the domains (…, N, 8) and of the objectives (…, D, 5).

    Args:
        tokens: Array or tensor, shape (…, X).
        domains: N.
        effects: Whether domains have four more columns, of their effects.
    """
    width = DOMAIN_WIDTH + EFFECT_WIDTH * effects
    end = STEP_WIDTH + width * domains
    rest = tokens.shape[-1] - end
    assert rest >= 0 and rest % OBJECTIVE_WIDTH == 0, f"tokens of width {tokens.shape[-1]} at N = {domains}"
    leading = tokens.shape[:-1]
    domain = tokens[..., STEP_WIDTH:end].reshape(*leading, domains, width)
    objective = tokens[..., end:].reshape(*leading, rest // OBJECTIVE_WIDTH, OBJECTIVE_WIDTH)
    return tokens[..., :STEP_WIDTH], domain, objective


def _step_features(
    mixtures_TN: Array, remaining_TN: Array, left_T: NDArray[np.int64], *, space: DomainSpace, steps: int
) -> Array:
    """Steps that remain (share, log), steps done (log), target share now and on average lately,
    natural target share, and the largest target and source share that would last to the end."""
    share_T = space.coarsen(mixtures_TN)[..., 1]
    lasting_TF = np.minimum(1.0, space.coarsen(remaining_TN) / np.maximum(1, left_T)[:, None])
    columns = [
        left_T / steps,
        np.log1p(left_T) / _LOG_STEPS,
        np.log1p(steps - left_T) / _LOG_STEPS,
        share_T,
        *(_faded(share_T[..., None], kept)[..., 0] for kept in _KEPT),
        space.coarsen(space.natural_N)[1],
        lasting_TF[..., 1],
        lasting_TF[..., 0],
    ]
    return np.stack([np.broadcast_to(column, share_T.shape) for column in columns], axis=-1)


def _domain_features(
    mixtures_TN: Array, remaining_TN: Array, left_T: NDArray[np.int64], *, space: DomainSpace
) -> Array:
    """Field (-1 source, 1 target), natural share in the field, share in the field, its log-ratio to
    the natural one now and on average lately, the share in the field that would last to the end
    over the natural one, and the log-ratio of the natural share to an equal one; (T, N, 8)."""
    natural_N, shares_TN = _in_fields(space.natural_N, space), _in_fields(mixtures_TN, space)
    equal_N = _in_fields(space.active_N.astype(np.float64), space)
    tilt_TN = _log_ratio(shares_TN, natural_N)
    taken_TN = np.maximum(1, left_T)[:, None] * np.where(space.active_N, natural_N, 1.0)
    shape = mixtures_TN.shape
    columns = [
        np.broadcast_to(np.where(space.target_N, 1.0, -1.0), shape),
        np.broadcast_to(natural_N, shape),
        shares_TN,
        tilt_TN,
        *(_faded(tilt_TN, kept) for kept in _KEPT),
        np.minimum(remaining_TN / taken_TN, _LARGEST_SUPPLY) / _LARGEST_SUPPLY,
        np.broadcast_to(_log_ratio(natural_N, equal_N), shape),
    ]
    return np.where(space.active_N[:, None], np.stack(columns, axis=-1), 0.0)


def _objective_features(feedback_TD: Array, objective_spec: ObjectiveSpec) -> Array:
    """Feature, its change since the last step, lambda, general, target; (T, D, 5)."""
    change_TD = np.diff(feedback_TD, axis=-2, prepend=feedback_TD[..., :1, :])
    shape = feedback_TD.shape
    columns = [
        feedback_TD / LARGEST_FEATURE,
        change_TD / LARGEST_FEATURE,
        np.broadcast_to(objective_spec.weights_D, shape),
        np.broadcast_to(objective_spec.roles_D < 0, shape),
        np.broadcast_to(objective_spec.roles_D > 0, shape),
    ]
    return np.stack(columns, axis=-1)


def _in_fields(weights: Array, space: DomainSpace) -> Array:
    """Shares within fields, (…, N); natural ones in a field without weight."""
    field_N = space.target_N.astype(int)
    totals, natural_totals_N = space.coarsen(weights)[..., field_N], space.coarsen(space.natural_N)[field_N]
    natural_N = space.natural_N / np.where(natural_totals_N > 0, natural_totals_N, 1.0)
    return np.where(totals > 0, weights / np.where(totals > 0, totals, 1.0), natural_N)


def _log_ratio(shares: Array, to_N: Vector) -> Array:
    """log(shares / to) within ±4, over 4; 0 where `to` is 0."""
    reference_N = np.where(to_N > 0, to_N, 1.0)
    ratio = np.clip(shares / reference_N, np.exp(-_LARGEST_LOG), np.exp(_LARGEST_LOG))
    return np.where(to_N > 0, np.log(ratio) / _LARGEST_LOG, 0.0)


def _faded(values_TV: Array, kept: float) -> Array:
    """Running averages over the rows so far: each counts `kept` times as much a row later."""
    faded: Array = lfilter([1 - kept], [1, -kept], values_TV, axis=-2)
    return faded
