"""What `events.jsonl` says of a step: its decision, what it consumed, and how much fits into memory.

Shapes: N (field, domain) pairs.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from dmix.mixing.delivery.ledger import StepLedger
from dmix.mixing.delivery.step_plan import StepPlan
from dmix.training.run.decisions import Decision
from dmix.warehouse_schema.files.events import Event
from dmix.warehouse_schema.sizes import num_text

# Kind of the note that says how many samples `microbatch_size: auto` found to fit.
MICROBATCH = "microbatch_size"


def decision_values(
    decision: Decision, plan: StepPlan, *, scores: Mapping[str, float], decided_to: int
) -> dict[str, Any]:
    """Values of the event `decision`.

    Args:
        decision: What the controller asked for.
        plan: What came of it.
        scores: By objective, those that the controller saw last.
        decided_to: The last step that is decided, by this attempt or an earlier one.
    """
    return {
        "step": plan.step,
        "asked_N": decision.asked_N.tolist(),
        "planned_N": plan.planned_N.tolist(),
        "planned_samples_N": plan.counts_N.tolist(),
        "reasons": {str(index): text for index, text in plan.reasons.items()},
        "scores": scores,
        "replayed": decision.replayed,
        "decided_to": decided_to,
        "remarks": [dataclasses.asdict(event) for event in decision.events],
    }


def step_values(
    plan: StepPlan, consumed: StepLedger, *, digest: str, chain: str, seq_len: int, seconds: float
) -> dict[str, Any]:
    """Values of the event `step_done`.

    Args:
        plan: The plan of the step.
        consumed: What the ranks consumed.
        digest: Digest of the samples of the step.
        chain: Chained digest of all samples up to this step.
        seq_len: Tokens per sample.
        seconds: How long the step took.
    """
    return {
        "step": plan.step,
        "delivered_samples_N": consumed.samples_N.tolist(),
        "delivered_tokens_N": (consumed.samples_N * seq_len).tolist(),
        "passes_N": plan.passes_N.tolist(),
        "digest": digest,
        "chain": chain,
        "loss": consumed.mean_loss,
        "loss_sum_N": (consumed.loss_sum_N * (seq_len - 1)).tolist(),
        "loss_tokens_N": (consumed.samples_N * (seq_len - 1)).tolist(),
        "seconds": seconds,
    }


def microbatch_detail(size: int, *, before: int) -> str:
    """How many samples fit into a forward pass, in words.

    Args:
        size: Samples that fit now.
        before: Samples that were tried before; 0 if there were none.
    """
    after = f", after {before} needed too much memory" if before else ""
    return f"microbatch_size auto: {num_text(size, 'sample')} per forward pass on a rank{after}"


def is_microbatch_note(event: Event) -> bool:
    """Whether an event says how many samples fit into a forward pass, as its `value`."""
    return event["event"] == "note" and event.get("kind") == MICROBATCH
