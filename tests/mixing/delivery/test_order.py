"""The seeded order of samples: permutations, golden values, and what a draw costs."""

import itertools
import os
import time
import tracemalloc
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.mixing.delivery.order import interleaved, order_slice, permuted

PROVEN = settings(max_examples=int(os.environ.get("DMIX_EXAMPLES", "40")), deadline=None, derandomize=True)


def whole_pass(
    shards: list[int], *, domain: int = 0, turn: int = 0, seed: int = 0, block: int = 2
) -> list[int]:
    return order_slice(
        domain,
        shuffle_pass=turn,
        start=0,
        count=sum(shards),
        shard_samples=np.array(shards, dtype=np.int64),
        seed=seed,
        shuffle_block=block,
    ).tolist()


@PROVEN
@given(
    shards=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    block=st.integers(1, 15),
    seed=st.integers(-(2**63), 2**63 - 1),
    turn=st.integers(0, 5),
    data=st.data(),
)
def test_slices_of_a_pass_make_up_a_permutation(
    shards: list[int], block: int, seed: int, turn: int, data: st.DataObject
) -> None:
    total = sum(shards)
    cuts = sorted(data.draw(st.lists(st.integers(0, total), max_size=5)))
    parts = [
        order_slice(
            3,
            shuffle_pass=turn,
            start=start,
            count=stop - start,
            shard_samples=np.array(shards, dtype=np.int64),
            seed=seed,
            shuffle_block=block,
        )
        for start, stop in itertools.pairwise([0, *cuts, total])
    ]
    together = np.concatenate(parts).tolist()
    assert sorted(together) == list(range(total))
    assert together == whole_pass(shards, domain=3, turn=turn, seed=seed, block=block)


def test_order_has_its_golden_values() -> None:
    assert whole_pass([4, 3, 5], seed=7, block=2) == GOLDEN_BLOCKS
    assert whole_pass([12], seed=7, block=1) == GOLDEN_FULL
    assert permuted(np.arange(3, dtype=np.uint64), size=10**12, key=2**63).tolist() == GOLDEN_LARGE


GOLDEN_BLOCKS = [5, 8, 10, 6, 7, 4, 11, 9, 2, 0, 1, 3]
GOLDEN_FULL = [1, 9, 4, 6, 2, 3, 8, 10, 0, 7, 11, 5]
GOLDEN_LARGE = [578655511415, 367642086001, 577108389974]


def test_passes_domains_and_seeds_have_orders_of_their_own() -> None:
    shards = [30, 30, 30]
    orders = [
        whole_pass(shards),
        whole_pass(shards, turn=1),
        whole_pass(shards, domain=1),
        whole_pass(shards, seed=1),
        whole_pass(shards, block=3),
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_samples_stay_within_their_block_of_shards() -> None:
    shards = [10] * 12
    order = np.array(whole_pass(shards, block=3)) // 10
    for begin in range(0, 120, 30):
        assert len(set(order[begin : begin + 30])) == 3


def test_block_of_all_shards_mixes_all_of_them_at_once() -> None:
    first = np.array(whole_pass([100] * 10, block=10)[:100]) // 100
    assert len(set(first)) == 10


def test_each_permutation_is_about_equally_likely() -> None:
    draws = 4800
    seen = Counter(
        tuple(permuted(np.arange(4, dtype=np.uint64), size=4, key=_spread(k)).tolist()) for k in range(draws)
    )
    expected = draws / 24
    chi_square = sum((seen[p] - expected) ** 2 / expected for p in itertools.permutations(range(4)))
    assert chi_square < 60  # 23 degrees of freedom: mean 23, one chance in 30,000 to be above


def test_every_image_is_about_equally_likely_in_large_permutations() -> None:
    draws, bins = 2400, 24
    pair = np.array([0, 1], dtype=np.uint64)
    images = np.array([permuted(pair, size=1200, key=_spread(k)) for k in range(draws)]).astype(np.int64)
    for values in (images[:, 0], images[:, 1], (images[:, 1] - images[:, 0]) % 1200):
        seen = np.bincount(values * bins // 1200, minlength=bins)
        assert ((seen - draws / bins) ** 2 / (draws / bins)).sum() < 60  # 23 degrees of freedom


def test_neighbours_are_uncorrelated_in_large_permutations() -> None:
    size = 100_003
    images = permuted(np.arange(size, dtype=np.uint64), size=size, key=11).astype(np.float64)
    assert len(np.unique(images)) == size
    for lag in (1, 2, 317):
        assert abs(np.corrcoef(images[:-lag], images[lag:])[0, 1]) < 5 / size**0.5


def test_a_draw_from_100_million_samples_holds_no_permutation() -> None:
    shards = np.full(1_500, 66_000, dtype=np.int64)
    tracemalloc.start()
    started = time.perf_counter()
    for block in (8, 1_500):
        order_slice(
            0,
            shuffle_pass=3,
            start=70_000_000,
            count=2_000,
            shard_samples=shards,
            seed=1,
            shuffle_block=block,
        )
    seconds = time.perf_counter() - started
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2_000_000
    assert seconds < 1


@PROVEN
@given(
    counts=st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(sum),
    seed=st.integers(0, 2**40),
    step=st.integers(1, 10_000),
)
def test_interleaving_keeps_the_order_of_each_domain(counts: list[int], seed: int, step: int) -> None:
    ids = np.concatenate([np.arange(count) + 1000 * domain for domain, count in enumerate(counts)])
    mixed = interleaved(ids, counts_N=np.array(counts), seed=seed, step=step)
    for domain, count in enumerate(counts):
        assert mixed[mixed // 1000 == domain].tolist() == [1000 * domain + k for k in range(count)]


def test_interleaving_differs_from_step_to_step_and_spreads_domains() -> None:
    ids, counts = np.arange(2000), np.array([1000, 1000])
    first, second = (interleaved(ids, counts_N=counts, seed=0, step=step) for step in (1, 2))
    assert not np.array_equal(first, second)
    assert abs(int((first[:200] < 1000).sum()) - 100) < 40


def _spread(number: int) -> int:
    return (number * 0x9E3779B97F4A7C15) % 2**64
