"""What a controller sees when it chooses the mixture of the next step.

Shapes: N (field, domain) pairs, D objectives, t steps so far. Row 0 is the start: rho_s and
the feedback of the model before any training (method §4: tokens rho~_0 … rho~_{t-1}).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.domains import DomainSpace, Vector


@dataclass(frozen=True, kw_only=True, eq=False)
class History:
    """The run so far, from the point of view of the controller that decides step t.

    Attributes:
        space: The domain space, with masks and sample counts.
        mixtures_TN: Planned mixtures, shape (t, N); row 0 is rho_s.
        feedback_TD: Raw scores in nats a token, shape (t, D), NaN where one is missing.
        objectives: Names of the D objectives.
        weights_D: Their lambda in the utility, summing to 1.
        scales_D: Their published scale s_i, in nats a token.
        steps: M, the number of steps that the run plans.
        step_samples: R, samples of a full step.
        remaining_samples_N: Samples that each domain can still give before its last pass ends.
        seed: Seed for controllers that draw; combine it with `step`.
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

    @property
    def step(self) -> int:
        """t, the step to decide, from 1."""
        return len(self.mixtures_TN)
