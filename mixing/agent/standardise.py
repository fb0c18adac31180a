"""Features: what the agent sees of feedback, one function for training and for runs (method §3).

`default`: the change from the model before any step, over a running scale that starts at the
published s_i; causal, so a value never changes once it is computed. `paper`: mean 0 and
standard deviation 1 over all scores given, which in training are all trajectories and in a run its own
list. Shapes: T scores of a trajectory (row 0 before any step), D objectives.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.domains import Vector
from dmix.mixing.space.history import TruncatedHistory

# n_0: how many observations the published scale counts for.
PRIOR_OBSERVATIONS = 8
LARGEST_FEATURE = 5.0

Scores = NDArray[np.float64]


def features(
    scores: Sequence[Scores], *, scales_D: Vector, preset: str, truncated: TruncatedHistory | None = None
) -> list[Scores]:
    """Feedback features of one or several trajectories.

    A missing score (NaN) takes the feature of the last one that is there, 0 if there is none, and
    adds nothing to means and scales. Whoever decides must look for NaN itself: a controller falls
    back instead of acting on an old value.

    Args:
        scores: Raw scores in nats per token, one array of shape (T, D) a trajectory; in `default` an
            array may hold several runs in leading axes.
        scales_D: Published scale s_i in nats per token, above 0; `paper` does not use it.
        preset: `paper` or `default`.
        truncated: Of scores between row 0 and row 1 of a run whose rows are no longer held. They
            count in the scale of `default` as if they were; `paper`, whose context is as long as
            its runs, takes its mean and deviation over the rows that are held.

    Returns:
        One array of shape (T, D) a trajectory, finite; `default` within ±5 and 0 in row 0.
    """
    if preset == "paper":
        return _pooled_features(scores)
    return [_anchored_features(scores_TD, scales_D, truncated) for scores_TD in scores]


def _anchored_features(scores_TD: Scores, scales_D: Vector, truncated: TruncatedHistory | None) -> Scores:
    """(score_t - score_0) / s^_t with s^_t^2 = (n_0 s^2 + sum_{j<=t} (score_j - score_0)^2) / (n_0 + t)."""
    change_TD = scores_TD - scores_TD[..., :1, :]
    known_TD = np.isfinite(change_TD)
    change_TD = np.where(known_TD, change_TD, 0.0)
    # Row 0 is the anchor and no observation: it adds 0 to the sum and nothing to the count.
    seen_TD, squares_TD = known_TD.astype(np.int64), change_TD**2
    seen_TD[..., 0, :] = 0
    if truncated is not None:
        seen_TD[..., 0, :], squares_TD[..., 0, :] = truncated.scores_D, truncated.squares_D
    seen_TD, squares_TD = np.cumsum(seen_TD, axis=-2), np.cumsum(squares_TD, axis=-2)
    scale_TD = np.sqrt((PRIOR_OBSERVATIONS * scales_D**2 + squares_TD) / (PRIOR_OBSERVATIONS + seen_TD))
    return carried_forward(np.clip(change_TD / scale_TD, -LARGEST_FEATURE, LARGEST_FEATURE), known_TD)


def _pooled_features(scores: Sequence[Scores]) -> list[Scores]:
    """(score - mean) / deviation over everything given; 0 where the deviation is 0."""
    stacked_RD = np.concatenate(scores)
    known_RD = np.isfinite(stacked_RD)
    count_D = np.maximum(1, known_RD.sum(axis=0))
    mean_D = np.where(known_RD, stacked_RD, 0.0).sum(axis=0) / count_D
    centred_RD = np.where(known_RD, stacked_RD - mean_D, 0.0)
    std_D = np.sqrt((centred_RD**2).sum(axis=0) / count_D)
    # Equal scores leave a standard deviation of some last bits, which is 0 for our purpose.
    flat_D = std_D <= 1e-12 * np.maximum(1.0, np.abs(mean_D))
    standard_RD = np.where(flat_D, 0.0, centred_RD / np.where(flat_D, 1.0, std_D))
    cuts = np.cumsum([len(scores_TD) for scores_TD in scores])[:-1]
    return [
        carried_forward(standard_TD, known_TD)
        for standard_TD, known_TD in zip(np.split(standard_RD, cuts), np.split(known_RD, cuts), strict=True)
    ]


def carried_forward(values_TD: Scores, known_TD: NDArray[np.bool_], *, before: float = 0.0) -> Scores:
    """Values with unknown ones replaced by the last known one of their column, `before` above the first."""
    rows_T1 = np.arange(values_TD.shape[-2])[:, None]
    last_TD = np.maximum.accumulate(np.where(known_TD, rows_T1, -1), axis=-2)
    carried_TD = np.take_along_axis(values_TD, np.maximum(last_TD, 0), axis=-2)
    return np.where(last_TD >= 0, carried_TD, before)
