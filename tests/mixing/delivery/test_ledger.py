import math
from types import SimpleNamespace

import numpy as np
import pytest

from dmix.mixing.delivery.digest import step_digest
from dmix.mixing.delivery.ledger import RankNotes, StepLedger
from dmix.warehouse_schema.errors import VerificationError


def notes(*batches):
    """One rank's notes of (ids, domains, losses) a batch."""
    return RankNotes(
        [np.array(ids) for ids, _, _ in batches],
        [np.array(domains) for _, domains, _ in batches],
        [np.array(losses, float) for _, _, losses in batches],
    )


RANKS = (
    notes(([0, 1], [0, 0], [1.0, 2.0]), ([4, 5], [1, 0], [3.0, 4.0])),
    notes(([2, 3], [2, 2], [5.0, 6.0]), ([6, 7], [0, 2], [7.0, 8.0])),
)


def test_ranks_take_turns_within_each_global_batch():
    consumed = StepLedger.empty(4)
    consumed.merge(RANKS, batch_size=4)
    assert consumed.digest.hexdigest() == step_digest(np.arange(8))
    assert consumed.samples_N.tolist() == [4, 1, 3, 0]
    assert consumed.loss_sum_N.tolist() == [14.0, 3.0, 19.0, 0.0]
    assert consumed.mean_loss == 36 / 8


def test_nothing_consumed_has_no_loss():
    consumed = StepLedger.empty(4)
    consumed.merge([RankNotes(), RankNotes()], batch_size=4)
    assert math.isnan(consumed.mean_loss) and consumed.samples_N.sum() == 0


def test_a_step_goes_on_after_its_json_form_with_other_ranks():
    whole, part = StepLedger.empty(4), StepLedger.empty(4)
    whole.merge(RANKS, batch_size=4)
    part.merge([RankNotes(n.ids[:1], n.domains[:1], n.losses[:1]) for n in RANKS], batch_size=4)
    resumed = StepLedger.from_json(part.to_json(), planned_ids=np.arange(8))
    resumed.merge([notes(([4, 5, 6, 7], [1, 0, 0, 2], [3.0, 4.0, 7.0, 8.0]))], batch_size=4)
    assert resumed.to_json() == whole.to_json()


def test_a_plan_that_does_not_start_with_what_was_consumed_is_refused():
    part = StepLedger.empty(4)
    part.merge(RANKS, batch_size=4)
    with pytest.raises(VerificationError, match="resume with the first dataset"):
        StepLedger.from_json(part.to_json(), planned_ids=np.arange(1, 9))


def test_notes_without_losses_count_samples_alone():
    ledger = StepLedger.empty(4)
    ledger.merge([RankNotes(rank.ids, rank.domains) for rank in RANKS], batch_size=4)
    assert ledger.samples_N.tolist() == [4, 1, 3, 0] and not ledger.loss_sum_N.any()


@pytest.mark.parametrize(
    ("ids", "counts"),
    [(range(8), (4, 1, 3, 0)), ((1, 0, *range(2, 8)), (4, 1, 3, 0)), (range(8), (3, 2, 3, 0))],
)
def test_a_step_is_proved_by_its_ids_in_order_and_its_counts(ids, counts):
    ledger = StepLedger.empty(4)
    ledger.merge(RANKS, batch_size=4)
    plan = SimpleNamespace(step=3, ids=np.array(ids), counts_N=np.array(counts))
    if (tuple(ids), counts) == (tuple(range(8)), (4, 1, 3, 0)):
        assert ledger.prove(plan) == step_digest(np.arange(8))
        return
    with pytest.raises(VerificationError, match="step 3 used 8 samples, but not the 8 planned"):
        ledger.prove(plan)
