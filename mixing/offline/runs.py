"""The runs of proxies as a farm stores them, with tokens, before they become tensors; light to import.

Shapes: S states, T = S - 1 transitions, X token width, N domains, D objectives, E runs.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.agent.features import RunContext, tokens
from dmix.mixing.agent.standardise import features
from dmix.mixing.space.domains import Vector
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """One run before padding.

    Attributes:
        tokens_SX: Tokens of its states.
        changes_SD: (score_t - score_0) / s_i of them.
        mixtures_TN: One fewer than states.
        ended: False for a fragment that was cut.
        is_default_proxy: False where the proxy departed from the default one.
    """

    tokens_SX: NDArray[np.float32]
    changes_SD: NDArray[np.float64]
    mixtures_TN: NDArray[np.float64]
    ended: bool
    is_default_proxy: bool = True

    def gain(self, weights_D: Vector) -> float:
        """U after the last step."""
        return float(self.changes_SD[-1] @ weights_D)


def scored_runs(
    trajectories: Sequence[Trajectory],
    *,
    feedback: Mapping[str, NDArray[np.float64]],
    scales_D: Vector,
    context: RunContext,
    target_steps: float,
    preset: str,
    variations: Mapping[str, str] = MappingProxyType({}),
) -> list[Run]:
    """The runs of trajectories that have feedback; arguments and errors as of `make_episodes`."""
    scored = [t for t in trajectories if t.trajectory_id in feedback]
    raw = [_checked(feedback[t.trajectory_id], t) for t in scored]
    fitted = features(raw, scales_D=scales_D, preset=preset) if scored else []
    rows = []
    for trajectory, scores_SD, features_SD in zip(scored, raw, fitted, strict=True):
        known_S = np.isfinite(scores_SD).all(1)
        states = len(known_S) if known_S.all() else int(known_S.argmin())
        if states < 2:
            logger.warning(
                "dmix leaves out %s: it has fewer than two scores from the start on", trajectory.trajectory_id
            )
            continue
        mixtures_SN = trajectory.mixtures_TN
        end = ends_at(mixtures_SN, context=context, target_steps=target_steps)
        rows.append(
            Run(
                tokens_SX=tokens(mixtures_SN, features_SD, context=context, preset=preset)[:states],
                changes_SD=(scores_SD[:states] - scores_SD[0]) / scales_D,
                mixtures_TN=mixtures_SN[1:states],
                ended=end is not None and states > end,
                is_default_proxy=not variations.get(trajectory.trajectory_id),
            )
        )
    if not rows:
        raise InputError(
            "no trajectory of the set has feedback (scores of proxies) yet, and an agent learns from these; "
            "run 'dmix mix collect --set NAME' first, with the same name"
        )
    return rows


def best_rows(gains_E: NDArray[Any], comparable_E: NDArray[np.bool_], *, share: float) -> NDArray[np.int64]:
    """Rows of the comparable runs with the highest gains, at least one.

    Args:
        gains_E: Gain of each run.
        comparable_E: True where gains are to be compared.
        share: Share of the comparable runs.

    Raises:
        InputError: If no run is comparable.
    """
    finished = np.flatnonzero(comparable_E)
    if not len(finished):
        raise InputError(
            "the set has no trajectory of the default proxy with scores of all steps; run 'dmix mix "
            "collect' first"
        )
    order = np.argsort(-gains_E[finished], kind="stable")
    return finished[order[: max(1, round(share * len(finished)))]]


def _checked(scores_SD: NDArray[np.float64], trajectory: Trajectory) -> NDArray[np.float64]:
    if len(scores_SD) != len(trajectory.mixtures_TN):
        raise InputError(
            f"trajectory {trajectory.trajectory_id} has {len(trajectory.mixtures_TN)} entries, but "
            f"feedback on {len(scores_SD)}; delete its feedback file and run 'dmix mix collect' again"
        )
    return scores_SD


def ends_at(mixtures_SN: NDArray[np.float64], *, context: RunContext, target_steps: float) -> int | None:
    """The step after which a run ends: M, or the one at which the target field is covered.

    None if the mixtures stop before either.
    """
    covered_T = np.cumsum(context.space.coarsen(mixtures_SN[1:])[:, 1]) >= target_steps * (1 - 1e-9)
    if covered_T.any():
        return min(context.steps, int(covered_T.argmax()) + 1)
    return context.steps if len(mixtures_SN) > context.steps else None
