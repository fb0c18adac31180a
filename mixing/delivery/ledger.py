"""The ledger of a step: what was consumed of it so far, and the proof that it is what was planned.

Every rank notes what went through its own forward passes; `merge` puts the notes of all ranks
together in the order of the global batches. Its JSON form is O(N), whatever the size of a step.
The bare loader and the training callback keep the same ledger; only the callback knows losses.
Shapes: N (field, domain) pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.delivery.digest import Ids, StepDigest, merge_ranks, step_digest
from dmix.mixing.delivery.step_plan import StepPlan
from dmix.mixing.space.plain_values import counts_of, floats_of
from dmix.warehouse_schema.errors import VerificationError
from dmix.warehouse_schema.sizes import num_text


@dataclass
class RankNotes:
    """What one rank consumed since the last merge.

    Attributes:
        ids: Sample ids, one array per batch.
        domains: Their domain indices, same form.
        losses: Their mean loss in nats per token, same form; empty where no loss is known.
    """

    ids: list[Ids] = field(default_factory=list)
    domains: list[NDArray[np.int64]] = field(default_factory=list)
    losses: list[NDArray[np.float64]] = field(default_factory=list)


@dataclass
class StepLedger:
    """What all ranks consumed of the current step.

    Attributes:
        digest: Of the sample ids in the order of the global batches.
        samples_N: Samples by domain.
        loss_sum_N: Sum over samples of their mean loss, nats per token, by domain.
    """

    digest: StepDigest
    samples_N: NDArray[np.int64]
    loss_sum_N: NDArray[np.float64]

    @classmethod
    def empty(cls, size: int) -> "StepLedger":
        """The ledger before the first batch of a step; `size` is N."""
        return cls(StepDigest(), np.zeros(size, np.int64), np.zeros(size, np.float64))

    def merge(self, ranks: Sequence[RankNotes], *, batch_size: int) -> None:
        """Adds the notes of all ranks, in rank order; `batch_size` is that of the global batch.

        Raises:
            VerificationError: If the ranks consumed different numbers of samples.
        """
        if not ranks[0].ids:
            return
        self.digest.update(merge_ranks([np.concatenate(notes.ids) for notes in ranks], batch_size=batch_size))
        size = len(self.samples_N)
        for notes in ranks:
            domains = np.concatenate(notes.domains)
            self.samples_N += np.bincount(domains, minlength=size)
            if notes.losses:
                losses = np.concatenate(notes.losses)
                self.loss_sum_N += np.bincount(domains, weights=losses, minlength=size)

    def prove(self, plan: StepPlan) -> str:
        """The digest of the consumed ids at the end of a step.

        Raises:
            VerificationError: If they are not the planned ones, in their order.
        """
        digest = self.digest.hexdigest()
        if digest != step_digest(plan.ids) or not np.array_equal(self.samples_N, plan.counts_N):
            raise VerificationError(
                f"step {plan.step} used {num_text(self.digest.consumed, 'sample')}, but not the "
                f"{num_text(len(plan.ids), 'planned sample')} in order; stop the run, check the data with "
                "'dmix etl verify', and resume from the last checkpoint"
            )
        return digest

    @property
    def mean_loss(self) -> float:
        """Mean training loss of the step in nats per token; NaN before its first batch."""
        samples = int(self.samples_N.sum())
        return float(self.loss_sum_N.sum()) / samples if samples else float("nan")

    @property
    def mean_loss_N(self) -> NDArray[np.float64]:
        """Mean training loss by domain in nats per token; NaN where nothing was consumed."""
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
    def from_json(cls, value: dict[str, Any], *, planned_ids: Ids) -> "StepLedger":
        """What `to_json` wrote, given the ids that the plan of the step starts with.

        Raises:
            VerificationError: If the plan's ids are not the ones that had been consumed.
            ValueError: If it holds something else than numbers of the same domains.
        """
        samples_N = counts_of(value["samples_N"], shape=(None,), what="samples consumed")
        losses_N = floats_of(value["loss_sum_N"], shape=samples_N.shape, what="sum of losses")
        prefix = planned_ids[: samples_N.sum()]
        return cls(StepDigest.resumed(prefix, expected=str(value["digest"])), samples_N, losses_N)
