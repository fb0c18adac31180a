"""Features of feedback against values worked by hand, and how far scores can move them."""

import numpy as np
import pytest

from dmix.mixing.agent.standardise import LARGEST_FEATURE, features

SCALE = np.array([0.5])


def default(scores, scales=SCALE):
    (found,) = features([np.asarray(scores, float).reshape(-1, 1)], scales_D=scales, preset="default")
    return found[:, 0]


def paper(*lists):
    arrays = [np.asarray(scores, float).reshape(-1, 1) for scores in lists]
    return [found[:, 0] for found in features(arrays, scales_D=SCALE, preset="paper")]


def test_default_values_worked_by_hand():
    # changes 0, 1, -1; s = .5, n_0 = 8: s^_1^2 = (8 * .25 + 1) / 9 = 1/3, s^_2^2 = (2 + 2) / 10
    assert default([-3, -2, -4]) == pytest.approx([0, np.sqrt(3), -1 / np.sqrt(0.4)])


def test_default_is_zero_before_any_step():
    assert default([-7.0]) == pytest.approx([0])


def test_default_is_clipped_at_five():
    found = default([0, 100, -100], scales=np.array([1e-3]))
    assert np.abs(found).max() <= LARGEST_FEATURE
    # one change alone gives at most sqrt(n_0 + t)
    assert found[1] == pytest.approx(3, abs=1e-6)


def test_default_does_not_rewrite_the_past():
    scores = np.random.default_rng(0).normal(size=30)
    whole = default(scores)
    for length in (1, 2, 10, 29):
        assert default(scores[:length]) == pytest.approx(whole[:length])


def test_missing_score_keeps_the_last_value_and_does_not_count():
    with_gap = default([-3, -2, np.nan, -4])
    assert with_gap[2] == with_gap[1]
    assert with_gap[[0, 1, 3]] == pytest.approx(default([-3, -2, -4]))


def test_everything_missing_is_zero():
    assert default([np.nan, np.nan]) == pytest.approx([0, 0])
    assert default([np.nan, -1.0]) == pytest.approx([0, 0])
    assert paper([np.nan, np.nan])[0] == pytest.approx([0, 0])


def test_paper_pools_all_trajectories_of_training():
    # 1, 3 and 5: mean 3, deviation sqrt(8/3)
    first, second = paper([1, 3], [5])
    assert first == pytest.approx([-2 / np.sqrt(8 / 3), 0])
    assert second == pytest.approx([2 / np.sqrt(8 / 3)])


def test_paper_with_two_values_is_plus_minus_one_and_with_equal_ones_zero():
    assert paper([-3.0, -2.999])[0] == pytest.approx([-1, 1])
    assert paper([-0.1, -0.1, -0.1])[0] == pytest.approx([0, 0, 0])


def test_paper_leaves_missing_scores_out_of_mean_and_deviation():
    assert paper([1, np.nan, 3])[0] == pytest.approx([-1, -1, 1])


def test_objectives_do_not_mix():
    scores = np.array([[-3.0, 0.0], [-2.0, 10.0]])
    for preset in ("default", "paper"):
        (both,) = features([scores], scales_D=np.array([0.5, 0.5]), preset=preset)
        (first,) = features([scores[:, :1]], scales_D=SCALE, preset=preset)
        assert both[:, 0] == pytest.approx(first[:, 0])


@pytest.mark.parametrize("shift", [-2.0, 2.0])
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_shifted_scores_leave_features_as_they_are(shift, preset):
    scores = np.random.default_rng(1).normal(size=(20, 1)).cumsum(0) * 0.1 - 3
    (plain,) = features([scores], scales_D=SCALE, preset=preset)
    (shifted,) = features([scores + shift], scales_D=SCALE, preset=preset)
    assert shifted == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_scaled_scores_change_features_less_than_the_scores(factor):
    """The running scale takes part of the factor back, ever more of it the longer the run."""
    rng = np.random.default_rng(2)
    scores = -3 + SCALE[0] * rng.normal(size=80)
    scores[0] = -3
    plain, scaled = default(scores), default(-3 + factor * (scores + 3))
    ratio = np.abs(scaled[1:] / plain[1:])
    low, high = sorted((1.0, factor))
    assert (ratio > low * 0.999).all()
    assert (ratio < high * 1.001).all()
    assert abs(np.log(ratio[60:]).mean()) < 0.35 * abs(np.log(factor))
