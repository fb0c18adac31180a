"""Verdicts of the third protocol from rows written by hand."""

import dataclasses

import numpy as np
import pytest
from scipy import stats
from tests.training.comparison.rivals.cell_rows import BASES, EFFECT_ND, PROTOCOL, SPACE, stored

from dmix.training.comparison.analysis.confirmation import (
    contrasts,
    hypotheses,
    objective_gains,
    paired,
    power,
    utilities,
    utility_spread,
)
from dmix.training.comparison.effects.judgement import JUDGING, yardstick_scales
from dmix.training.comparison.yardstick.designs import target_mixture

BEST_N = np.array([0.1, 0.5, 0.4, 0.0])
CELLS = {
    "counts-plan": BEST_N,
    "natural": SPACE.natural_N,
    "grid": target_mixture(0.6, SPACE),
    "regmix": SPACE.natural_N,
    "effect": BEST_N,
}


@pytest.fixture(scope="module")
def rows():
    return stored(CELLS)


def test_a_pair_is_students_t_over_base_models():
    difference_B = np.array([0.1, 0.3, 0.2, 0.4])
    mean, low, high, p = paired(difference_B, bound=0.1)
    expected = stats.ttest_1samp(difference_B, 0.1, alternative="greater")
    assert p == pytest.approx(expected.pvalue) and mean == pytest.approx(0.25)
    interval = stats.ttest_1samp(difference_B, 0).confidence_interval(0.95)
    assert (low, high) == pytest.approx((interval.low, interval.high))
    with pytest.raises(ValueError, match="at least two"):
        paired(difference_B[:1])


def test_contrasts_recover_known_gains(rows):
    weight_D, scale_D = yardstick_scales(rows, JUDGING)
    found = {row.cell: row for row in contrasts(rows, PROTOCOL)}
    assert set(found) == {"natural", "grid", "regmix", "effect"}
    for cell, row in found.items():
        gain_D = (BEST_N - CELLS[cell]) @ EFFECT_ND
        assert row.difference == pytest.approx(gain_D @ (weight_D / scale_D), abs=0.1)
        assert row.nats == pytest.approx(gain_D @ weight_D, abs=0.01)
        assert row.outside == pytest.approx(gain_D[1] / scale_D[1], abs=0.1)
        assert row.total_variation == pytest.approx(0.5 * np.abs(BEST_N - CELLS[cell]).sum())
    assert found["natural"].word == "ahead" and found["effect"].word == "tie"
    by_objective = objective_gains(rows, PROTOCOL)
    assert by_objective.keys() == found.keys()
    assert by_objective["natural"] == pytest.approx((BEST_N - SPACE.natural_N) @ EFFECT_ND, abs=0.01)
    roles = [found[cell].role for cell in ("natural", "grid", "effect")]
    assert roles == ["reference", "rival", "beside"]
    assert found["natural"].source_tokens == pytest.approx(600 / 700 - 1)


def test_hypotheses_take_the_weakest_comparison_and_correct_over_settings(rows):
    own = contrasts(rows, PROTOCOL)
    two = dataclasses.replace(PROTOCOL, settings=("a", "b"))
    found = hypotheses({"a": own, "b": own}, two)
    assert [(h.setting, h.claim) for h in found] == [
        ("a", "not behind"),
        ("b", "not behind"),
        ("a", "ahead"),
        ("b", "ahead"),
    ]
    rivals = [row for row in own if row.role == "rival"]
    assert found[2].p == max(row.p for row in rivals) and found[2].p_holm == pytest.approx(2 * found[2].p)
    assert all(h.holds for h in found)
    # a setting that is not finished counts in the correction
    (alone, *_) = hypotheses({"a": own}, two)
    assert alone.p_holm == pytest.approx(2 * alone.p)
    half_done = [row for row in own if row.cell != "regmix"]
    assert {h.claim for h in hypotheses({"s": half_done}, PROTOCOL)} == {"not behind"}


def test_ahead_in_u_alone_is_not_shown(rows):
    own = [
        dataclasses.replace(row, nats=-0.1) if row.cell == "grid" else row
        for row in contrasts(rows, PROTOCOL)
    ]
    by_claim = {h.claim: h for h in hypotheses({"s": own}, PROTOCOL)}
    assert by_claim["not behind"].holds and not by_claim["ahead"].holds
    assert next(row for row in own if row.cell == "grid").word == "depends on the scale"


def test_an_equal_cell_is_not_behind_but_not_ahead():
    rows = stored({**CELLS, "counts-plan": SPACE.natural_N, "grid": SPACE.natural_N})
    by_claim = {h.claim: h for h in hypotheses({"s": contrasts(rows, PROTOCOL)}, PROTOCOL)}
    assert by_claim["not behind"].holds and not by_claim["ahead"].holds


def test_a_cell_with_missing_runs_has_no_verdict():
    rows = stored(CELLS, seeds=1)
    assert utilities(rows, "natural", PROTOCOL, np.ones(2)) is None and contrasts(rows, PROTOCOL) == []


def test_power_follows_from_the_noise_of_the_yardstick(rows):
    reached, least = power(rows, PROTOCOL)
    weight_D, scale_D = yardstick_scales(rows, JUDGING)
    spread = utility_spread(rows, weight_D / scale_D)
    assert 0.95 < reached <= 1 and 0 < least < 0.15 * spread
    strict = dataclasses.replace(PROTOCOL, margin=1e-6)
    assert power(rows, strict)[0] < 0.1
    values_BS = utilities(rows, "natural", PROTOCOL, weight_D / scale_D)
    assert values_BS.shape == (BASES, 2)
