"""Whole samples out of quotas: against brute force, by hand, and at the sizes of real runs."""

import itertools
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.delivery.apportion import apportion

PROVEN = settings(max_examples=int(os.environ.get("DMIX_EXAMPLES", "40")), deadline=None, derandomize=True)


def give(quota: list[float], total: int, limit: list[int] | None = None) -> list[int]:
    limits = np.array(limit if limit is not None else [10**9] * len(quota), dtype=np.int64)
    return apportion(np.array(quota), total=total, limit_N=limits).tolist()


def best_by_search(quota: list[float], total: int, limit: list[int]) -> list[int]:
    """The first of all vectors with the least exact cost; earlier domains get more first."""
    ranges = [range(min(most, total), -1, -1) for most in limit]
    vectors = (n for n in itertools.product(*ranges) if sum(n) == total)
    exact = [Fraction(q) for q in quota]
    return list(min(vectors, key=lambda n: sum((q - k) ** 2 for q, k in zip(exact, n, strict=True))))


@PROVEN
@given(data=st.data())
def test_result_is_the_nearest_vector_of_integers(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 4))
    quota = data.draw(st.lists(st.integers(-16, 40).map(lambda k: k / 8), min_size=size, max_size=size))
    limit = data.draw(st.lists(st.integers(0, 6), min_size=size, max_size=size))
    total = data.draw(st.integers(0, min(sum(limit), 8)))
    assert give(quota, total, limit) == best_by_search(quota, total, limit)


def test_values_worked_by_hand() -> None:
    assert give([2.6, 1.3, 0.1], 4) == [3, 1, 0]
    assert give([2.5, 1.5, -1.0], 3) == [2, 1, 0]  # 0.25 + 0.25 + 1; [3, 0, 0] would cost 3.5
    assert give([5.0, 1.0], 6, [2, 9]) == [2, 4]


def test_ties_go_to_the_lower_index() -> None:
    assert give([0.5, 0.5], 1) == [1, 0]
    assert give([1 / 3] * 3, 1) == [1, 0, 0]
    assert give([1.25] * 4, 5) == [2, 1, 1, 1]


def test_empty_single_and_all_of_it() -> None:
    assert give([0.0, 0.0], 0) == [0, 0]
    assert give([7.0], 7) == [7]
    assert give([0.2, 0.3, 0.5], 9, [2, 3, 4]) == [2, 3, 4]


def test_large_totals_equal_the_method_of_largest_remainders() -> None:
    rng = np.random.default_rng(5)
    for total in (64_000, 10**9):
        quota = rng.dirichlet(np.full(52, 0.3)) * total
        floors = np.floor(quota).astype(np.int64)
        winners = np.argsort(-(quota - floors), kind="stable")[: total - floors.sum()]
        floors[winners] += 1
        assert np.array_equal(apportion(quota, total=total, limit_N=np.full(52, total)), floors)


def test_asking_for_more_than_there_is_is_refused() -> None:
    with pytest.raises(ValueError, match=r"5 samples .* only 3"):
        give([2.0, 3.0], 5, [2, 1])
