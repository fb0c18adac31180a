"""The tokens an agent reads: rho~_i = [rho_i ; feedback_i], and context in `default` (method §4).

One function builds them for training and for runs. Shapes: T tokens (token i describes the
state after step i, token 0 the start), N (field, domain) pairs, D objectives, X token width.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.agent.set_features import ObjectiveSpec, set_tokens
from dmix.mixing.agent.standardise import LARGEST_FEATURE, features
from dmix.mixing.space.domains import DomainSpace, Vector
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.store import TrajectorySet

Tokens = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class RunContext:
    """What a run knows of itself beside mixtures and scores.

    Attributes:
        space: Masks and natural shares.
        steps: M.
        supply_N: Samples that each domain could give at the start of the run, in units of R.
        passes: Passes through each domain that `supply_N` counts.
        limited: Whether a run draws no more than that from a domain, as real ones do.
        objective_spec: The objectives as a set agent reads them; None for tokens of the paper's agent.
    """

    space: DomainSpace
    steps: int
    supply_N: Vector
    passes: int = 1
    limited: bool = False
    objective_spec: ObjectiveSpec | None = None

    @classmethod
    def of_set(cls, found: TrajectorySet, *, objective_spec: ObjectiveSpec | None = None) -> "RunContext":
        """The context of every trajectory of a set: the data of the run it is for, in all its passes."""
        space = found.domain_space
        supply_N = found.max_passes * space.samples_N / found.run_step_samples
        return cls(
            space=space,
            steps=found.steps,
            supply_N=supply_N,
            passes=found.max_passes,
            limited=True,
            objective_spec=objective_spec,
        )

    @classmethod
    def of_history(cls, history: History, *, objective_spec: ObjectiveSpec | None = None) -> "RunContext":
        """The context of a run under way; passes still allowed count as supply.

        It begins with row 1 of the history: what truncated steps used is not counted on either side.
        """
        used_N = history.mixtures_TN[1:].sum(axis=0)
        supply_N = history.remaining_samples_N / history.step_samples + used_N
        return cls(space=history.space, steps=history.steps, supply_N=supply_N, objective_spec=objective_spec)


def token_width(*, domains: int, objectives: int, preset: str) -> int:
    """X: N + D, and 1 + 3 N more in `default`."""
    return domains + objectives + (0 if preset == "paper" else 1 + 3 * domains)


def tokens(
    mixtures_TN: NDArray[np.float64],
    feedback_TD: NDArray[np.float64],
    *,
    context: RunContext,
    preset: str,
    truncated_steps: int = 0,
) -> Tokens:
    """The token of every state, that of a set agent (`set_tokens`) where the context has an objective spec.

    `default` adds: the fraction of steps that remain; for each domain the largest share that it
    could hold until the end of the run, at most 1 (0 when it is exhausted); its natural share;
    1 if it is active. It scales features to ±1 and the vectors of many ones to a norm of at
    most 1: unscaled, they drown the mixture, and training sits at its mean for tens of epochs.

    Args:
        mixtures_TN: Planned mixtures, row 0 is rho_s.
        feedback_TD: Features (`dmix.mixing.agent.standardise`), not raw scores.
        context: Of the run.
        preset: `paper` or `default`.
        truncated_steps: Steps between row 0 and row 1 that are not given. Row 0 then stands for the
            start with the supply that was left when row 1 was drawn.

    Returns:
        float32, shape (T, X), after any leading axes of runs.
    """
    if preset == "paper":
        return np.concatenate([mixtures_TN, feedback_TD], axis=-1).astype(np.float32)
    count, space = mixtures_TN.shape[-2], context.space
    steps_T = np.arange(count) + truncated_steps * (np.arange(count) > 0)
    left_T = np.maximum(0, context.steps - steps_T)
    drawn_TN = mixtures_TN.copy()
    drawn_TN[..., 0, :] = 0
    used_TN = np.cumsum(drawn_TN, axis=-2)
    remaining_TN = np.maximum(0.0, context.supply_N - used_TN)
    if context.objective_spec is not None:
        return set_tokens(
            mixtures_TN,
            feedback_TD,
            space=space,
            steps=context.steps,
            left_T=left_T,
            remaining_TN=remaining_TN,
            objective_spec=context.objective_spec,
        )
    sustainable_TN = np.minimum(1.0, remaining_TN / np.maximum(1, left_T)[:, None])
    unit, shape = len(space) ** -0.5, mixtures_TN.shape
    parts = [
        mixtures_TN,
        feedback_TD / LARGEST_FEATURE,
        np.broadcast_to((left_T / context.steps)[:, None], (*shape[:-1], 1)),
        sustainable_TN * unit,
        np.broadcast_to(space.natural_N, shape),
        np.broadcast_to(space.active_N * unit, shape),
    ]
    return np.concatenate(parts, axis=-1).astype(np.float32)


def history_tokens(
    history: History,
    *,
    objectives: tuple[str, ...],
    scales_D: Vector,
    preset: str,
    objective_spec: ObjectiveSpec | None = None,
) -> Tokens:
    """The tokens of a run under way, for an agent that reads these objectives.

    Args:
        history: The run; its objectives include the agent's.
        objectives: What the agent was trained on, in its order; () leaves feedback out.
        scales_D: The scales it was trained with, not those of the run, so that a score means the
            same in both.
        preset: Of the agent.
        objective_spec: Weights and roles of these objectives for a set agent, None for the paper's.
    """
    columns = [history.objectives.index(name) for name in objectives]
    truncated = history.truncated
    if truncated is not None:
        truncated = replace(
            truncated, scores_D=truncated.scores_D[columns], squares_D=truncated.squares_D[columns]
        )
    (feedback_TD,) = features(
        [history.feedback_TD[:, columns]], scales_D=scales_D, preset=preset, truncated=truncated
    )
    return tokens(
        history.mixtures_TN,
        feedback_TD,
        context=RunContext.of_history(history, objective_spec=objective_spec),
        preset=preset,
        truncated_steps=history.truncated_steps,
    )
