"""What a controller sees when it chooses the mixture of the next step.

Shapes: N (field, domain) pairs, D objectives, t steps so far, T rows held. Row 0 is the start:
rho_s and the feedback of the model before any training (method §4: tokens rho~_0 … rho~_{t-1}).
The other rows are the last steps, as many as the controller looks back on: what a run keeps must
not grow with its length (design §7.7). Until then T = t, and nothing is missing in between.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import DomainSpace, Vector, read_only
from dmix.mixing.space.plain_values import count_of, counts_of, floats_of

CONTEXT = 80
"""Last steps that a history holds unless its controller looks back further (the paper's context)."""

_ARRAYS = (
    "mixtures_TN",
    "feedback_TD",
    "weights_D",
    "scales_D",
    "remaining_samples_N",
    "losses_TN",
    "counts_TN",
    "rate_shares_M",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class TruncatedHistory:
    """What is kept of the steps between row 0 and row 1, whose rows are not: O(D), however many.

    Attributes:
        steps: Their number.
        scores_D: How many of their scores are there, for features whose scale counts all of them.
        squares_D: Sum over those of (score - score_0)^2, in squared nats per token.
    """

    steps: int
    scores_D: NDArray[np.int64]
    squares_D: Vector

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores_D", read_only(self.scores_D))
        object.__setattr__(self, "squares_D", read_only(self.squares_D))

    @classmethod
    def nothing(cls, objectives: int) -> "TruncatedHistory":
        """No step; `objectives` is D."""
        return cls(steps=0, scores_D=np.zeros(objectives, np.int64), squares_D=np.zeros(objectives))

    def then(self, feedback_TD: NDArray[np.float64], *, first_D: Vector) -> "TruncatedHistory":
        """With the next steps truncated too.

        Args:
            feedback_TD: Their raw scores, NaN where one is missing.
            first_D: The scores of row 0.
        """
        change_TD = feedback_TD - first_D
        known_TD = np.isfinite(change_TD)
        squares_TD = np.where(known_TD, change_TD, 0.0) ** 2
        return TruncatedHistory(
            steps=self.steps + len(feedback_TD),
            scores_D=self.scores_D + known_TD.sum(axis=0),
            # in the order of a sum over all rows, so that both give the same last bits
            squares_D=np.cumsum(np.vstack([self.squares_D, squares_TD]), axis=0)[-1],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, float64 without loss."""
        return {"steps": self.steps, "scores": self.scores_D.tolist(), "squares": self.squares_D.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "TruncatedHistory":
        """What `to_json` wrote.

        Raises:
            ValueError: If steps, scores and squares cannot be those of one run.
        """
        steps = count_of(value["steps"], what="earlier steps")
        scores_D = counts_of(value["scores"], shape=(None,), what="scores of earlier steps")
        squares_D = floats_of(value["squares"], shape=scores_D.shape, what="squares of earlier steps")
        if steps == 0 or (scores_D > steps).any() or (squares_D < 0).any():
            raise ValueError("earlier steps have more scores than steps, or negative squares")
        return cls(steps=steps, scores_D=scores_D, squares_D=squares_D)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunEffects:
    """Effects by gradients of the run's own model: nats per token per unit of share, of a whole run.

    Attributes:
        step: They were measured before this step.
        effect_ND: Effect of each domain on each objective; centred on natural mixing.
        stderr_ND: Its standard error.
    """

    step: int
    effect_ND: NDArray[np.float64]
    stderr_ND: NDArray[np.float64]

    def __post_init__(self) -> None:
        object.__setattr__(self, "effect_ND", read_only(self.effect_ND))
        object.__setattr__(self, "stderr_ND", read_only(self.stderr_ND))

    def to_json(self) -> dict[str, Any]:
        """Plain values, float64 without loss."""
        return {"step": self.step, "effect": self.effect_ND.tolist(), "stderr": self.stderr_ND.tolist()}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "RunEffects":
        """What `to_json` wrote.

        Raises:
            ValueError: If effects and errors are not numbers of the same shape.
        """
        effect_ND = floats_of(value["effect"], shape=(None, None), what="effects", finite=False)
        stderr_ND = floats_of(value["stderr"], shape=effect_ND.shape, what="errors of effects", finite=False)
        if (stderr_ND < 0).any():
            raise ValueError("errors of effects are negative")
        step = count_of(value["step"], what="the step of effects")
        return cls(step=step, effect_ND=effect_ND, stderr_ND=stderr_ND)


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """The run so far, from the point of view of the controller that decides step t.

    Its arrays and those of its space are read-only: take a copy to work in place.

    Attributes:
        space: The domain space, with masks and sample counts.
        mixtures_TN: Planned mixtures, shape (T, N); row 0 is rho_s.
        feedback_TD: Raw scores in nats per token, shape (T, D), NaN where one is missing.
        objectives: Names of the D objectives.
        weights_D: Their lambda in the utility, summing to 1.
        scales_D: Their published scale s_i, in nats per token.
        steps: M, the number of steps that the run plans.
        step_samples: R, samples of a full step.
        remaining_samples_N: Samples that each domain can still give before its last pass ends.
        seed: Seed for controllers that draw; combine it with `step`.
        losses_TN: Mean training loss of each step by domain, nats per token, shape (T, N); NaN where
            a step had no sample of a domain, and in row 0. All NaN when left out.
        counts_TN: Samples that each step delivered, shape (T, N); row 0 is 0. All 0 when left out.
        truncated: What is left of steps whose rows are not held; None if all are.
        roles: general or target, an objective each; () where nobody says.
        rate_shares_M: Share of the run's summed learning rate that falls into each step, shape (M,),
            sum 1. All alike when left out.
        effects: What gradients of the run's model said first and last; () in a run without them.
    """

    space: DomainSpace
    mixtures_TN: NDArray[np.float64]
    feedback_TD: NDArray[np.float64]
    objectives: tuple[str, ...]
    weights_D: Vector
    scales_D: Vector
    steps: int
    step_samples: int
    remaining_samples_N: NDArray[np.int64]
    seed: int
    losses_TN: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 0)))
    counts_TN: NDArray[np.int64] = field(default_factory=lambda: np.empty((0, 0), np.int64))
    truncated: TruncatedHistory | None = None
    roles: tuple[str, ...] = ()
    rate_shares_M: Vector = field(default_factory=lambda: np.empty(0))
    effects: tuple[RunEffects, ...] = ()

    def __post_init__(self) -> None:
        shape = self.mixtures_TN.shape
        if not self.losses_TN.size:
            object.__setattr__(self, "losses_TN", np.full(shape, np.nan))
        if not self.counts_TN.size:
            object.__setattr__(self, "counts_TN", np.zeros(shape, np.int64))
        if not self.rate_shares_M.size:
            object.__setattr__(self, "rate_shares_M", np.full(self.steps, 1 / self.steps))
        assert self.losses_TN.shape == self.counts_TN.shape == shape
        # Controllers are handed the arrays of the run; one that works in place would change it.
        for name in _ARRAYS:
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def copied(self) -> "History":
        """The same in arrays of its own, the space included."""
        arrays = {name: getattr(self, name).copy() for name in _ARRAYS}
        return dataclasses.replace(self, space=dataclasses.replace(self.space), **arrays)

    @property
    def step(self) -> int:
        """t, the step to decide, from 1."""
        return self.truncated_steps + len(self.mixtures_TN)

    @property
    def truncated_steps(self) -> int:
        """Steps between row 0 and row 1."""
        return 0 if self.truncated is None else self.truncated.steps
