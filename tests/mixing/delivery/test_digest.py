"""Digests of what was consumed, by hand and across ranks."""

import hashlib

import numpy as np
import pytest

from dmix.mixing.delivery.digest import CHAIN_START, StepDigest, chain_digest, merge_ranks, step_digest
from dmix.warehouse_schema.errors import VerificationError


def test_step_digest_is_sha256_of_little_endian_ids() -> None:
    content = bytes([1, 0, 0, 0, 0, 0, 0, 0]) + bytes([0, 1, 0, 0, 0, 0, 0, 0])
    assert step_digest(np.array([1, 256])) == hashlib.sha256(content).hexdigest()
    assert step_digest(np.array([], dtype=np.int64)) == hashlib.sha256(b"").hexdigest()
    assert step_digest(np.array([1, 256], dtype=">i8")) == step_digest(np.array([1, 256], dtype=np.int32))


def test_chain_depends_on_every_step_in_order() -> None:
    first, second = step_digest(np.array([1])), step_digest(np.array([2]))
    chained = chain_digest(chain_digest(CHAIN_START, first), second)
    inner = hashlib.sha256(bytes(32) + bytes.fromhex(first)).digest()
    assert chained == hashlib.sha256(inner + bytes.fromhex(second)).hexdigest()
    assert chained != chain_digest(chain_digest(CHAIN_START, second), first)


def test_digest_by_batches_is_that_of_the_whole_step() -> None:
    ids = np.arange(12)
    digest = StepDigest()
    for batch in np.split(ids, 3):
        digest.update(batch)
    assert (digest.hexdigest(), digest.consumed) == (step_digest(ids), 12)


def test_ranks_merge_into_global_batches() -> None:
    ids = np.arange(24)
    by_rank = [ids.reshape(-1, 4, 2)[:, rank].ravel() for rank in range(4)]
    assert merge_ranks(by_rank, batch_size=8).tolist() == ids.tolist()
    assert merge_ranks([ids], batch_size=8).tolist() == ids.tolist()


def test_ranks_that_consumed_different_numbers_are_an_error() -> None:
    with pytest.raises(VerificationError, match=r"ranks used \[2, 4\] samples"):
        merge_ranks([np.arange(4), np.arange(2)], batch_size=4)


def test_resumed_step_must_agree_with_the_checkpoint() -> None:
    prefix = np.arange(8)
    resumed = StepDigest.resumed(prefix, expected=step_digest(prefix))
    resumed.update(np.arange(8, 12))
    assert resumed.hexdigest() == step_digest(np.arange(12))
    with pytest.raises(VerificationError, match="8 planned samples before the interruption"):
        StepDigest.resumed(prefix, expected=step_digest(prefix[::-1]))
