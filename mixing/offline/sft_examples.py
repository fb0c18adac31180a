"""What SFT learns from: trajectories of a set as sequences of tokens and the mixtures that follow.

Feedback is read where the set has it. A trajectory without it gets features of 0; a set without
any makes datasets of mixtures alone. Shapes: T states, D objectives, X token width, N domains.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.agent.features import RunContext, Tokens, tokens
from dmix.mixing.agent.standardise import features
from dmix.mixing.offline.stored import read_farm
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.trajectories.store import Trajectory
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One trajectory as the agent learns from it.

    Attributes:
        tokens_TX: Tokens of the states 0 … |tau|-2.
        mixtures_TN: What followed each of them, float32.
    """

    tokens_TX: Tokens
    mixtures_TN: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class SftDataset:
    """What an agent learns from one set of trajectories.

    Attributes:
        examples: One per trajectory.
        space: Labels and masks.
        preset: Preset of the tokens.
        objectives: Names of the D objectives with feedback.
        scales_D: Their s_i in nats per token.
        with_feedback: Number of examples with feedback.
        target_supply: |T| / (R * M) of the set.
    """

    examples: Sequence[Example]
    space: DomainSpace
    preset: str = "default"
    objectives: tuple[str, ...] = ()
    scales_D: Vector = field(default_factory=lambda: np.zeros(0))
    with_feedback: int = 0
    target_supply: float = 0.0


def load_sft_dataset(
    warehouse: Warehouse, *, set_name: str, preset: str | None, as_sets: bool = False
) -> SftDataset:
    """The trajectories of a set that SFT imitates, as examples.

    Args:
        warehouse: Holds the set.
        set_name: Set of trajectories.
        preset: Of the agent; None takes the set's.
        as_sets: Make the tokens of a set agent, which are those of the `default` preset.

    Raises:
        NotFoundError: If there is no such set.
        InputError: If the set has no trajectories to learn from.
    """
    stored = read_farm(warehouse, set_name)
    preset, feedback = stored.preset(preset, as_sets=as_sets), stored.feedback
    chosen = _taught(stored.trajectories, preset=preset)
    examples = make_examples(
        chosen,
        feedback=feedback.scores,
        scales_D=stored.scales_D,
        context=stored.context(as_sets=as_sets),
        preset=preset,
    )
    return SftDataset(
        space=stored.found.domain_space,
        preset=preset,
        objectives=feedback.objectives,
        scales_D=stored.scales_D,
        examples=tuple(examples),
        with_feedback=sum(trajectory.trajectory_id in feedback.scores for trajectory in chosen),
        target_supply=stored.found.target_supply,
    )


def make_examples(
    trajectories: Sequence[Trajectory],
    *,
    feedback: Mapping[str, NDArray[np.float64]],
    scales_D: Vector,
    context: RunContext,
    preset: str,
) -> list[Example]:
    """The examples of trajectories; features are fitted on all feedback of the set.

    Args:
        trajectories: With at least one step each.
        feedback: Raw scores (T, D) by trajectory id; missing ones become features of 0.
        scales_D: s_i in nats per token; empty without feedback.
        context: Of the set.
        preset: `paper` or `default`.

    Raises:
        InputError: If a trajectory has more entries than its feedback.
    """
    ids = sorted(feedback)
    fitted = features([feedback[name] for name in ids], scales_D=scales_D, preset=preset) if ids else []
    by_id = dict(zip(ids, fitted, strict=True))
    examples = []
    for trajectory in trajectories:
        mixtures_TN = trajectory.mixtures_TN
        feedback_TD = by_id.get(trajectory.trajectory_id, np.zeros((len(mixtures_TN), len(scales_D))))
        if len(feedback_TD) != len(mixtures_TN):
            raise InputError(
                f"trajectory {trajectory.trajectory_id} has {len(mixtures_TN)} entries, but feedback on "
                f"{len(feedback_TD)}; delete its feedback file and run 'dmix mix collect' again"
            )
        tokens_TX = tokens(mixtures_TN[:-1], feedback_TD[:-1], context=context, preset=preset)
        examples.append(Example(tokens_TX=tokens_TX, mixtures_TN=mixtures_TN[1:].astype(np.float32)))
    return examples


def _taught(trajectories: Sequence[Trajectory], *, preset: str) -> list[Trajectory]:
    """The trajectories to imitate: those of K = 1, in `default` of the lowest K that there is."""
    inductive = [t for t in trajectories if t.top_k is not None]
    lowest = min((t.top_k for t in inductive if t.top_k is not None), default=None)
    if lowest is None or (preset == "paper" and lowest != 1):
        there = "none" if lowest is None else f"the lowest K is {lowest}"
        raise InputError(f"the set has no trajectories with K = 1 ({there}); run 'dmix mix sample --top-k 1'")
    return [t for t in inductive if t.top_k == lowest]
