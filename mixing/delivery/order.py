"""The seeded order of a domain's samples, and how the domains of a step are interleaved.

Nothing here holds a permutation of a domain: the position of a sample in the order is turned
into its id by a keyed permutation that is computed for just the positions asked for, so a draw
costs as much from 100 million samples as from a thousand. The shards of a domain are shuffled;
consecutive shards form blocks; samples are shuffled within their block, so that a step touches
few shards. One order a pass.

All of it is 64-bit integer arithmetic: the same ids on every platform and with every numpy.
Random number generators are left alone, because their streams may change between versions.
"""

import hashlib
import math
import struct

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Words = NDArray[np.uint64]

_MOST_SORTED = 1024
_ROUNDS = 6
_ROUND_STEP = 0xD1B54A32D192ED03
_FIRST_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_SECOND_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
_HALF_WORD = np.uint64(32)


def order_slice(
    domain: int,
    *,
    shuffle_pass: int,
    start: int,
    count: int,
    shard_samples: Ids,
    seed: int,
    shuffle_block: int,
) -> Ids:
    """Samples `start` to `start + count` of a domain's order in one pass.

    Args:
        domain: Index of the domain; domains of equal size get different orders.
        shuffle_pass: Pass through the domain, from 0.
        start: First position, from 0.
        count: Number of positions; `start + count` is at most the samples of the domain.
        shard_samples: Samples of each shard, shape (shards,).
        seed: Seed of the run.
        shuffle_block: Shards whose samples are shuffled together; as many as there are, or
            more, is a full shuffle.

    Returns:
        Positions in the stream of the domain, int64, shape (count,). Over a whole pass every
        one comes exactly once.
    """
    if count == 0:
        return np.empty(0, dtype=np.int64)
    shards = len(shard_samples)
    shard_order = permuted(
        np.arange(shards, dtype=np.uint64), size=shards, key=_key(seed, "shards", domain, shuffle_pass)
    ).astype(np.int64)
    shuffled = shard_samples[shard_order]
    begins = shuffled.cumsum() - shuffled
    block_begins = begins[::shuffle_block].tolist()
    block_ends = [*block_begins[1:], int(shuffled.sum())]
    positions = np.empty(count, dtype=np.int64)
    first = int(np.searchsorted(block_begins, start, side="right")) - 1
    at = start
    for block in range(first, len(block_begins)):
        stop = min(start + count, block_ends[block])
        begin = block_begins[block]
        within = permuted(
            np.arange(at - begin, stop - begin, dtype=np.uint64),
            size=block_ends[block] - begin,
            key=_key(seed, "samples", domain, shuffle_pass, block),
        )
        positions[at - start : stop - start] = within.astype(np.int64) + begin
        at = stop
        if at == start + count:
            break
    shard = np.searchsorted(begins, positions, side="right") - 1
    stream_begins = shard_samples.cumsum() - shard_samples
    return stream_begins[shard_order[shard]] + positions - begins[shard]


def interleaved(ids: Ids, *, counts_N: NDArray[np.int64], seed: int, step: int) -> Ids:
    """The ids of a step with its domains shuffled into each other.

    Only the sequence of domains is shuffled. Each domain's own samples keep their order, so
    what a run takes from a domain is always a prefix of that domain's passes.

    Args:
        ids: Ids of domain 0, then of domain 1 …, shape (R,).
        counts_N: Ids of each domain, sum R.
        seed: Seed of the run.
        step: Step of the run, from 1.
    """
    order = permuted(np.arange(len(ids), dtype=np.uint64), size=len(ids), key=_key(seed, "step", step))
    domains = np.repeat(np.arange(len(counts_N), dtype=np.uint16), counts_N)[order.astype(np.int64)]
    mixed = np.empty_like(ids)
    mixed[np.argsort(domains, kind="stable")] = ids
    return mixed


def permuted(indices: Words, *, size: int, key: int) -> Words:
    """The images of some indices under a keyed permutation of 0 … size - 1.

    Up to 1,024 elements are sorted by a hash. Above that it is a generalised Feistel network
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains") on the rectangle width x
    height that just holds `size` cells: two coordinates take turns in adding a hash of the other
    one. Images outside of `size`, fewer than one in sqrt(size), are sent through again until
    they fall inside. Not meant for secrets.

    Args:
        indices: Distinct or not, all below `size`.
        size: Number of elements, at most 2^62.
        key: 64 bits that choose the permutation.
    """
    if size <= _MOST_SORTED:
        return _sorted_by_hash(size, key=key)[indices.astype(np.int64)]
    width = math.isqrt(size - 1) + 1
    height = -(-size // width)
    images = _feistel(indices, width=width, height=height, key=key)
    outside = np.flatnonzero(images >= size)
    while len(outside):
        images[outside] = _feistel(images[outside], width=width, height=height, key=key)
        outside = outside[images[outside] >= size]
    return images


def _sorted_by_hash(size: int, *, key: int) -> Words:
    """0 … size - 1 in the order of their hashes."""
    mixed = np.arange(1, size + 1, dtype=np.uint64) * _FIRST_FACTOR
    mixed ^= np.uint64(key)
    for factor in (_SECOND_FACTOR, _FIRST_FACTOR, _SECOND_FACTOR):
        mixed ^= mixed >> _HALF_WORD
        mixed *= factor
    return np.argsort(mixed, kind="stable").astype(np.uint64)


def _feistel(cells: Words, *, width: int, height: int, key: int) -> Words:
    """One pass of the network over cell numbers `row * width + column`."""
    row, column = np.divmod(cells, np.uint64(width))
    sides = ((column, np.uint64(width)), (row, np.uint64(height)))
    for turn in range(_ROUNDS):
        moving, limit = sides[turn % 2]
        salt = np.uint64((key + turn * _ROUND_STEP) & 0xFFFFFFFFFFFFFFFF)
        moving += _hash_below(sides[1 - turn % 2][0], salt=salt, limit=limit)
        # The remainder: subtracting too much wraps round to a number that is larger.
        np.minimum(moving, moving - limit, out=moving)
    return row * np.uint64(width) + column


def _hash_below(words: Words, *, salt: np.uint64, limit: np.uint64) -> Words:
    """A hash of each word, below `limit`: multiply and fold twice, then scale by multiplying."""
    mixed = words * _FIRST_FACTOR
    mixed ^= salt
    mixed ^= mixed >> _HALF_WORD
    mixed *= _SECOND_FACTOR
    mixed >>= _HALF_WORD
    mixed *= limit
    mixed >>= _HALF_WORD
    return mixed


def _key(seed: int, purpose: str, *indices: int) -> int:
    """64 bits that depend on every argument."""
    content = struct.pack(f"<{1 + len(indices)}q", seed, *indices)
    return int.from_bytes(
        hashlib.blake2b(content, digest_size=8, person=purpose.encode().ljust(16, b"\0")).digest(), "little"
    )
