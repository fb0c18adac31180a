"""Proof of what was consumed: a digest for each step, and a chain over the run.

The ids come from the batches that the ranks trained on, never from the plan, so an equal digest
says that the loader, the workers and the ranks delivered exactly what was planned, in order.
Ids are hashed as little-endian int64.
"""

import hashlib
import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import VerificationError

Ids = NDArray[np.int64]

CHAIN_START = "0" * 64
"""run_0, before any step."""


class StepDigest:
    """SHA-256 over the ids of one step in the order of consumption, batch by batch."""

    def __init__(self) -> None:
        self.consumed = 0
        self._hash = hashlib.sha256()

    def update(self, ids: Ids) -> None:
        """Adds the ids of the next global batch, all ranks in order."""
        self._hash.update(np.ascontiguousarray(ids, dtype="<i8").tobytes())
        self.consumed += len(ids)

    def hexdigest(self) -> str:
        """The digest of what was added so far."""
        return self._hash.hexdigest()

    @classmethod
    def resumed(cls, prefix: Ids, *, expected: str) -> "StepDigest":
        """The digest of a step that was interrupted after `prefix`.

        Args:
            prefix: What the plan says was consumed before the interruption.
            expected: Digest of what really was, from the checkpoint.

        Raises:
            VerificationError: If the two disagree.
        """
        digest = cls()
        digest.update(prefix)
        if digest.hexdigest() != expected:
            raise VerificationError(
                f"the {len(prefix)} planned samples before the interruption have the digest "
                f"{digest.hexdigest()[:12]}, but the checkpoint says {expected[:12]}; resume with the "
                "first dataset, seed and settings of the run"
            )
        return digest


def step_digest(ids: Ids) -> str:
    """SHA-256 of the ids of a whole step, 64 hexadecimal digits."""
    digest = StepDigest()
    digest.update(ids)
    return digest.hexdigest()


def chain_digest(previous: str, step: str) -> str:
    """run_t = SHA-256(run_{t-1} || step_t), over the 32 bytes of each."""
    return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(step)).hexdigest()


def checked_chain(value: object) -> str:
    """A chained digest that was stored.

    Raises:
        ValueError: If it is not 64 hexadecimal digits.
    """
    if not isinstance(value, str) or re.fullmatch("[0-9a-f]{64}", value) is None:
        raise ValueError(f"chain is {repr(value)[:40]}, expected 64 hexadecimal digits")
    return value


def merge_ranks(ids_by_rank: Sequence[Ids], *, batch_size: int) -> Ids:
    """The ids of whole global batches in order, from what each rank consumed in order.

    Args:
        ids_by_rank: One array a rank, equal lengths, a multiple of the rank's slice.
        batch_size: B, the global batch.

    Raises:
        VerificationError: If the ranks consumed different numbers of samples.
    """
    lengths = {len(ids) for ids in ids_by_rank}
    if len(lengths) > 1:
        raise VerificationError(
            f"the ranks used {sorted(lengths)} samples, expected equal numbers; stop the run and resume "
            "from the last checkpoint"
        )
    slice_size = batch_size // len(ids_by_rank)
    return np.stack(
        [np.asarray(ids, dtype=np.int64).reshape(-1, slice_size) for ids in ids_by_rank], 1
    ).ravel()
