"""A first step that makes the model worse, which is what too large a learning rate does."""

import math
from collections.abc import Sequence

import numpy as np

from dmix.mixing.space.domains import Array

# A first step that makes the loss rise by this much, in nats per token, did harm.
LOSS_JUMP = 0.5
_LEAST_BATCHES = 4


def jump_warning(losses: Sequence[float], feedback_TD: Array, *, learning_rate: float) -> str:
    """What to say after the first step of a run; empty if it did no harm.

    Args:
        losses: As in `jump_of`.
        feedback_TD: As in `jump_of`.
        learning_rate: Peak rate of the run.
    """
    jump = jump_of(losses, feedback_TD)
    if jump <= LOSS_JUMP:
        return ""
    return (
        f"the loss rose by {jump:.2f} nats per token in the first step: learning_rate {learning_rate:g} is "
        "too large for this model; lower learning_rate in the training file"
    )


def jump_of(losses: Sequence[float], feedback_TD: Array) -> float:
    """How much worse a model is after the first step, in nats per token; negative if it is better.

    Args:
        losses: Mean loss of each batch of the step; that of the first was measured before any update.
        feedback_TD: Scores before and after the step; shape (2, 0) without objectives.
    """
    found = []
    if len(losses) >= _LEAST_BATCHES:
        last = losses[-max(1, len(losses) // 4) :]
        found.append(math.fsum(last) / len(last) - losses[0])
    if feedback_TD.size:
        found.append(float(np.mean(feedback_TD[0] - feedback_TD[1])))
    # samples of a batch differ by chance, items do not: where there are scores, both have to say so
    return min(found, default=-math.inf)
