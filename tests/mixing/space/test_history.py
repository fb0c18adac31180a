"""What a controller sees: steps that are held, steps that are not, and arrays that are its own."""

import json

import numpy as np
import pytest

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History, RunEffects, TruncatedHistory

SPACE = DomainSpace(("a",), np.array([3, 1]))


def history(rows=3, **changes):
    given = {
        "space": SPACE,
        "mixtures_TN": np.tile(SPACE.start_N, (rows, 1)),
        "feedback_TD": np.zeros((rows, 1)),
        "objectives": ("x",),
        "weights_D": np.ones(1),
        "scales_D": np.ones(1),
        "steps": 4,
        "step_samples": 2,
        "remaining_samples_N": SPACE.samples_N,
        "seed": 0,
    }
    return History(**given | changes)


def test_the_step_to_decide_counts_rows_that_are_not_held():
    assert (history(rows=1).step, history(rows=3).step) == (1, 3)
    truncated = TruncatedHistory.nothing(1).then(np.zeros((5, 1)), first_D=np.zeros(1))
    assert (history(truncated=truncated).step, history(truncated=truncated).truncated_steps) == (8, 5)


def test_what_nobody_gives_has_its_value():
    found = history()
    assert np.isnan(found.losses_TN).all() and found.losses_TN.shape == (3, 2)
    assert not found.counts_TN.any() and found.counts_TN.dtype == np.int64
    assert found.rate_shares_M.tolist() == [0.25] * 4
    assert history(rate_shares_M=np.array([0.7, 0.1, 0.1, 0.1])).rate_shares_M[0] == 0.7


def test_losses_of_another_shape_are_no_history():
    with pytest.raises(AssertionError):
        history(losses_TN=np.zeros((2, 2)))


def test_a_copy_shares_nothing_with_the_run():
    found = history()
    copy = found.copied()
    assert np.array_equal(copy.mixtures_TN, found.mixtures_TN) and copy.space is not found.space
    assert not np.shares_memory(copy.mixtures_TN, found.mixtures_TN)
    with pytest.raises(ValueError, match="read-only"):
        copy.mixtures_TN[0] = 1


def test_truncated_steps_are_summed_up_in_any_portions():
    first_D = np.array([1.0, -1.0])
    scores_TD = np.array([[2.0, -1.5], [np.nan, 1.0], [0.5, np.nan]])
    whole = TruncatedHistory.nothing(2).then(scores_TD, first_D=first_D)
    parts = TruncatedHistory.nothing(2)
    for row_D in scores_TD:
        parts = parts.then(row_D[None], first_D=first_D)
    # (2 - 1)^2 + (0.5 - 1)^2 and (-1.5 + 1)^2 + (1 + 1)^2
    assert whole.squares_D.tolist() == parts.squares_D.tolist() == [1.25, 4.25]
    assert (whole.steps, whole.scores_D.tolist()) == (3, [2, 2]) == (parts.steps, parts.scores_D.tolist())


def test_what_is_kept_survives_json():
    truncated = TruncatedHistory.nothing(1).then(np.array([[0.1], [1 / 3]]), first_D=np.array([0.3]))
    found = TruncatedHistory.from_json(json.loads(json.dumps(truncated.to_json())))
    assert (found.steps, found.squares_D.tolist()) == (2, truncated.squares_D.tolist())
    effects = RunEffects(step=3, effect_ND=np.array([[1 / 3], [-1.0]]), stderr_ND=np.array([[0.1], [0.2]]))
    again = RunEffects.from_json(json.loads(json.dumps(effects.to_json())))
    assert again.step == 3
    assert np.array_equal(again.effect_ND, effects.effect_ND)
    assert np.array_equal(again.stderr_ND, effects.stderr_ND)
