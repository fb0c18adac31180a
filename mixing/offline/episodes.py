"""What CQL learns from: trajectories with feedback as episodes of tokens, mixtures and rewards.

State s_t is the prefix of tokens 0 … t (method §5: always from rho_0), the action is the mixture
of step t + 1 and the reward r_{t+1} = U_{t+1} - U_t. One causal pass over an episode gives all its
prefixes, so a batch holds whole episodes, padded at the end. The episode is terminal after step M
and after the early stop; a fragment's cut is not.

Shapes: E episodes, T = transitions of the longest one, X token width, N domains, D objectives.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dmix.mixing.agent.features import RunContext
from dmix.mixing.offline.runs import Run, best_rows, scored_runs
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.trajectories.store import Trajectory

# Where returns lie under a sigmoid head (method §5).
BOUNDED_RETURNS = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True)
class RewardMap:
    """The affine map from returns in utility to the unit that critics learn in.

    A return-to-go G becomes scale * G + shift whatever the number of steps left: each step pays
    scale * r + (1 - g) * shift, and the terminal one g * shift more. (A shift paid a step alone
    could not put all returns into [0.05, 0.95]: with r = 0 in the last step it is at least 0.05,
    and twenty of them exceed 0.95.)
    """

    scale: float = 1.0
    shift: float = 0.0

    def rewards(self, rewards_ET: Tensor, terminal_ET: Tensor, *, discount: float) -> Tensor:
        """The mapped rewards, same shape."""
        each = self.scale * rewards_ET + (1 - discount) * self.shift
        return each + discount * self.shift * terminal_ET

    def returns(self, mapped: float) -> float:
        """The return in utility of a mapped return."""
        return (mapped - self.shift) / self.scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Episodes:
    """Whole episodes, padded at the end.

    Attributes:
        space: Labels and masks.
        tokens_ESX: Tokens of states 0 … T, shape (E, T + 1, X).
        changes_ESD: (score_t - score_0) / s_i of states 0 … T.
        utility_ES: U of states 0 … T, without unit; U_0 = 0.
        actions_ETN: Mixture that followed state t.
        rewards_ET: U_{t+1} - U_t, 0 in padding.
        valid_mask_ET: True where there was such a step.
        terminal_ET: True at a step that ended the run.
        is_default_proxy_E: False where the proxy departed from the default one, so that its gain is not to be
            compared with those of others.
    """

    space: DomainSpace
    tokens_ESX: Tensor
    changes_ESD: Tensor
    utility_ES: Tensor
    actions_ETN: Tensor
    rewards_ET: Tensor
    valid_mask_ET: Tensor
    terminal_ET: Tensor
    is_default_proxy_E: Tensor

    def __len__(self) -> int:
        return len(self.tokens_ESX)

    @property
    def gains_E(self) -> Tensor:
        """Sum of rewards of every episode."""
        return self.rewards_ET.sum(1)

    @property
    def comparable_E(self) -> Tensor:
        """True where gains are to be compared: the run came to its end, under the default proxy."""
        return self.terminal_ET.any(1) & self.is_default_proxy_E

    def chosen(self, rows: Sequence[int] | NDArray[np.int64]) -> "Episodes":
        """Some of the episodes, in the order of `rows`."""
        index = torch.as_tensor(np.asarray(rows, dtype=np.int64))
        parts = [f.name for f in fields(self) if f.name != "space"]
        return replace(self, **{name: getattr(self, name)[index] for name in parts})

    def best(self, share: float) -> "Episodes":
        """The comparable episodes with the highest gains, at least one.

        Raises:
            InputError: If no episode is comparable.
        """
        return self.chosen(best_rows(self.gains_E.numpy(), self.comparable_E.numpy(), share=share))


def make_episodes(
    trajectories: Sequence[Trajectory],
    *,
    feedback: Mapping[str, NDArray[np.float64]],
    scales_D: Vector,
    weights_D: Vector,
    context: RunContext,
    target_steps: float,
    preset: str,
    variations: Mapping[str, str] = MappingProxyType({}),
) -> Episodes:
    """Episodes of the trajectories that have feedback.

    A trajectory is cut before the first score that is missing, and is then not terminal; one whose
    first or second entry misses a score is left out, with a warning.

    Args:
        trajectories: With at least one step each.
        feedback: Raw scores (T + 1, D) by trajectory id.
        scales_D: s_i in nats per token.
        weights_D: lambda_i, summing to 1.
        context: Of the set.
        target_steps: |T| / R, at which a path stops early.
        preset: `paper` or `default`.
        variations: How the proxy of a trajectory departed from the default one, if it did, by its id.

    Raises:
        InputError: If no trajectory has feedback, or one has other entries than its feedback.
    """
    rows = scored_runs(
        trajectories,
        feedback=feedback,
        scales_D=scales_D,
        context=context,
        target_steps=target_steps,
        preset=preset,
        variations=variations,
    )
    return assembled(rows, space=context.space, weights_D=weights_D)


def padded_to(episodes: Episodes, steps: int) -> Episodes:
    """The episodes with room for at least `steps` transitions."""
    missing = steps - episodes.valid_mask_ET.shape[1]
    if missing <= 0:
        return episodes
    parts: dict[str, Any] = {}
    for part in fields(episodes):
        value = getattr(episodes, part.name)
        if part.name not in ("space", "is_default_proxy_E"):
            tail = value.new_zeros(len(value), missing, *value.shape[2:])
            parts[part.name] = torch.cat([value, tail], dim=1)
    return replace(episodes, **parts)


def reward_map(episodes: Episodes, *, discount: float, bounded: bool) -> RewardMap:
    """The map for a critic with (`bounded`) or without a sigmoid head.

    Unbounded: returns from the start have standard deviation 1, so that the conservative weight
    means the same whatever the unit of U. Bounded: all returns-to-go lie in `BOUNDED_RETURNS`.
    """
    returns_ET = returns_to_go(episodes.rewards_ET, discount=discount)
    ended_E = episodes.terminal_ET.any(1)
    if not bounded:
        spread = float(returns_ET[ended_E, 0].std()) if int(ended_E.sum()) > 1 else 0.0
        return RewardMap(scale=1 / spread if spread > 0 else 1.0)
    found = returns_ET[episodes.valid_mask_ET]
    low, high = float(found.min()), float(found.max())
    bottom, top = BOUNDED_RETURNS
    scale = (top - bottom) / (high - low) if high > low else 1.0
    return RewardMap(scale=scale, shift=bottom - scale * low)


def returns_to_go(rewards_ET: Tensor, *, discount: float) -> Tensor:
    """G_t = sum_k g^k r_{t+k}, shape (E, T); padding has reward 0."""
    returns_ET = torch.zeros_like(rewards_ET)
    running_E = torch.zeros(len(rewards_ET), dtype=rewards_ET.dtype)
    for t in range(rewards_ET.shape[1] - 1, -1, -1):
        running_E = rewards_ET[:, t] + discount * running_E
        returns_ET[:, t] = running_E
    return returns_ET


def assembled(rows: Sequence[Run], *, space: DomainSpace, weights_D: Vector) -> Episodes:
    """Runs as episodes; U is the sum of their changes weighted by lambda."""
    steps = max(len(row.mixtures_TN) for row in rows)
    width = rows[0].tokens_SX.shape[1]
    tokens_ESX = torch.zeros(len(rows), steps + 1, width)
    changes_ESD = torch.zeros(len(rows), steps + 1, rows[0].changes_SD.shape[1])
    utility_ES = torch.zeros(len(rows), steps + 1)
    actions_ETN = torch.zeros(len(rows), steps, len(space))
    rewards_ET = torch.zeros(len(rows), steps)
    valid_mask_ET = torch.zeros(len(rows), steps, dtype=torch.bool)
    terminal_ET = torch.zeros(len(rows), steps, dtype=torch.bool)
    for index, row in enumerate(rows):
        made = len(row.mixtures_TN)
        tokens_ESX[index, : made + 1] = torch.from_numpy(row.tokens_SX)
        changes_ESD[index, : made + 1] = torch.from_numpy(row.changes_SD)
        utility_S = row.changes_SD @ weights_D  # `objectives.utility`, scales already divided out
        utility_ES[index, : made + 1] = torch.from_numpy(utility_S)
        actions_ETN[index, :made] = torch.from_numpy(row.mixtures_TN)
        rewards_ET[index, :made] = torch.from_numpy(np.diff(utility_S))
        valid_mask_ET[index, :made] = True
        terminal_ET[index, made - 1] = row.ended
    return Episodes(
        space=space,
        tokens_ESX=tokens_ESX,
        changes_ESD=changes_ESD,
        utility_ES=utility_ES,
        actions_ETN=actions_ETN,
        rewards_ET=rewards_ET,
        valid_mask_ET=valid_mask_ET,
        terminal_ET=terminal_ET,
        is_default_proxy_E=torch.tensor([row.is_default_proxy for row in rows]),
    )
