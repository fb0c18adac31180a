"""What a step has consumed so far: a digest of its sample ids, domains, training loss by domain.

Every rank notes what went through its own forward passes; `merge` puts the notes of all ranks
together in the order of the global batches. Its JSON form is O(N), whatever the size of a step.
Shapes: N (field, domain) pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.delivery.digest import StepDigest, merge_ranks


@dataclass
class RankNotes:
    """What one rank consumed since the last merge.

    Attributes:
        ids: Sample ids, one array a batch.
        domains: Their domain indices, same form.
        losses: Their mean loss in nats a token, same form.
    """

    ids: list[NDArray[np.int64]] = field(default_factory=list)
    domains: list[NDArray[np.int64]] = field(default_factory=list)
    losses: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass
class Consumed:
    """What all ranks consumed of the step under way.

    Attributes:
        digest: Of the sample ids in the order of the global batches.
        samples_N: Samples by domain.
        loss_sum_N: Sum over samples of their mean loss, nats a token, by domain.
    """

    digest: StepDigest
    samples_N: NDArray[np.int64]
    loss_sum_N: NDArray[np.float64]

    @classmethod
    def nothing(cls, size: int) -> "Consumed":
        """Before the first batch of a step; `size` is N."""
        return cls(StepDigest(), np.zeros(size, np.int64), np.zeros(size, np.float64))

    def merge(self, ranks: Sequence[RankNotes], *, batch_size: int) -> None:
        """Adds the notes of all ranks, in rank order; `batch_size` is that of the global batch."""
        if not ranks[0].ids:
            return
        self.digest.update(merge_ranks([np.concatenate(notes.ids) for notes in ranks], batch_size=batch_size))
        size = len(self.samples_N)
        for notes in ranks:
            domains, losses = np.concatenate(notes.domains), np.concatenate(notes.losses)
            self.samples_N += np.bincount(domains, minlength=size)
            self.loss_sum_N += np.bincount(domains, weights=losses, minlength=size)

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the step in nats a token; NaN before its first batch."""
        samples = int(self.samples_N.sum())
        return float(self.loss_sum_N.sum()) / samples if samples else float("nan")

    @property
    def mean_loss_N(self) -> NDArray[np.float64]:
        """Mean training loss by domain in nats a token; NaN where nothing was consumed."""
        return np.divide(
            self.loss_sum_N,
            self.samples_N,
            out=np.full(len(self.samples_N), np.nan),
            where=self.samples_N > 0,
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "digest": self.digest.hexdigest(),
            "samples_N": self.samples_N.tolist(),
            "loss_sum_N": self.loss_sum_N.tolist(),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], *, planned_ids: NDArray[np.int64]) -> "Consumed":
        """What `to_json` wrote, given the ids that the plan of the step starts with.

        Raises:
            VerificationError: If the plan's ids are not the ones that had been consumed.
        """
        samples_N = np.array(value["samples_N"], np.int64)
        prefix = planned_ids[: samples_N.sum()]
        return cls(
            StepDigest.resumed(prefix, expected=value["digest"]),
            samples_N,
            np.array(value["loss_sum_N"], np.float64),
        )
