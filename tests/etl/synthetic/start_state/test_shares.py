"""Distances between shares, and how sure a sample makes one: values by hand and by simulation."""

import math

import numpy as np
import pytest

from dmix.etl.synthetic.start_state.shares import (
    divergence,
    divergence_bound,
    share_intervals,
    shares,
    smoothed_shares,
)


def test_divergence_by_hand():
    # 0.5 ln(0.5/0.25) + 0.5 ln(0.5/0.75) = 0.5 ln 2 - 0.5 ln 1.5
    found = divergence(np.array([0.5, 0.5]), np.array([0.25, 0.75]))
    assert found == pytest.approx(0.5 * math.log(2) - 0.5 * math.log(1.5))


def test_divergence_of_nothing_seen_is_zero_and_of_the_impossible_infinite():
    assert divergence(np.array([1.0, 0.0]), np.array([1.0, 0.0])) == 0
    assert divergence(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == math.inf


def test_smoothed_shares_have_no_zero():
    assert smoothed_shares(np.array([0, 3])).tolist() == [0.125, 0.875]
    assert shares(np.array([0, 0])).tolist() == [0, 0]


def test_the_bound_is_that_of_chi_squared():
    # 2 n KL is chi-squared with C - 1 degrees of freedom in the limit: the 0.95 quantile for 4 is 9.488
    counts = np.full(5, 4000)
    bound = divergence_bound(counts, confidence=0.95, seed=0)
    assert bound == pytest.approx(9.488 / (2 * 20_000), rel=0.12)


def test_the_bound_falls_with_documents_and_is_infinite_without():
    few, many = (divergence_bound(np.array([6, 3, 1]) * n, confidence=0.9, seed=0) for n in (10, 100))
    assert many < few / 5
    assert divergence_bound(np.zeros(3, int), confidence=0.9, seed=0) == math.inf


def test_the_bound_holds_for_the_truth_as_often_as_it_says():
    truth, rng = np.array([0.5, 0.25, 0.15, 0.1]), np.random.default_rng(0)
    held = 0
    for seed in range(100):
        counts = rng.multinomial(500, truth)
        held += divergence(shares(counts), truth) <= divergence_bound(counts, confidence=0.9, seed=seed)
    assert 80 <= held <= 98


def test_intervals_hold_documents_and_tokens_apart():
    domains = np.array([0] * 80 + [1] * 20)
    tokens = np.array([10] * 80 + [160] * 20)
    found = share_intervals(domains, tokens, num_domains=3, confidence=0.95, seed=0)
    assert found.documents.tolist() == [0.8, 0.2, 0.0]
    assert found.tokens.tolist() == [0.2, 0.8, 0.0]
    # binomial: standard error 0.04
    assert found.documents_low[1] == pytest.approx(0.2 - 1.96 * 0.04, abs=0.02)
    assert found.documents_high[1] == pytest.approx(0.2 + 1.96 * 0.04, abs=0.02)
    assert found.tokens_low[1] < 0.8 < found.tokens_high[1]
    assert (found.tokens_low[2], found.tokens_high[2]) == (0, 0)
