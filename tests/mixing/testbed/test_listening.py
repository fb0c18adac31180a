"""The effect agent closes a part of the gap that only scores reveal; those of others close none."""

import dataclasses

import numpy as np
import pytest
from benchmarks.listening import VARIANTS, case_of
from tests.mixing.testbed.listening import Outcome, closed, interval, outcomes

WORLDS = 5
AGENT = dataclasses.replace(VARIANTS[0], steps=10)


@pytest.fixture(scope="module")
def found():
    cases = [case_of(AGENT, "direction", 90_000 + seed)[0] for seed in range(WORLDS)]
    return outcomes(cases, arms=("heard", "silent", "shuffled"))


def test_own_scores_close_a_part_of_the_gap_and_those_of_others_none(found):
    assert closed(found, "heard") > 0.3
    assert closed(found, "shuffled") < 0.05
    assert closed(found, "silent") == 0


def test_the_clairvoyant_is_the_best_of_all_arms(found):
    for outcome in found:
        assert max(outcome.natural, *outcome.arms.values()) <= outcome.best + 1e-3


def test_shares_by_hand():
    rows = [
        Outcome(hidden="scale", natural=0.0, best=2.0, arms={"silent": 1.0, "heard": 1.5}),
        Outcome(hidden="scale", natural=0.0, best=4.0, arms={"silent": 1.0, "heard": 2.0}),
    ]
    assert closed(rows, "heard") == pytest.approx(1.5 / 4)
    low, high = interval(rows, "heard", draws=200)
    assert (low, high) == pytest.approx((1 / 3, 1 / 2))
    assert np.isclose(closed(rows, "silent"), 0)
