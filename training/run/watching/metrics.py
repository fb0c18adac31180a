"""The metrics of a step for Composer's loggers: the numbers of the catalog's views, under names with paths.

    mixture/<field>/<domain>   planned weight          loss/<field>/<domain>    nats per token
    samples/<field>/<domain>   samples delivered       score/<objective>        nats per token
    tokens/<field>/<domain>    tokens delivered        step, utility

Shapes: N (field, domain) pairs, D objectives.
"""

import math

from dmix.mixing.delivery.ledger import StepLedger
from dmix.mixing.space.domains import DomainSpace, Vector


def step_metrics(
    space: DomainSpace, *, step: int, planned_N: Vector, consumed: StepLedger, seq_len: int
) -> dict[str, float]:
    """Metrics of a step by name; domains without samples are left out, and losses of unread ones.

    Args:
        space: Names of the N pairs.
        step: Number of the step, from 1.
        planned_N: Its planned mixture.
        consumed: What all ranks consumed of it.
        seq_len: Tokens per sample.
    """
    metrics: dict[str, float] = {"step": step}
    for index, (field, domain) in enumerate(space.names):
        if not space.active_N[index]:
            continue
        name, samples = f"{field}/{domain}", int(consumed.samples_N[index])
        metrics[f"mixture/{name}"] = float(planned_N[index])
        metrics[f"samples/{name}"] = samples
        metrics[f"tokens/{name}"] = samples * seq_len
        if samples:
            metrics[f"loss/{name}"] = float(consumed.loss_sum_N[index]) / samples
    return metrics


def score_metrics(scores: dict[str, float], *, utility: float | None) -> dict[str, float]:
    """Metrics of the feedback after a step; a score that is missing is left out."""
    metrics = {f"score/{name}": score for name, score in scores.items() if math.isfinite(score)}
    return metrics if utility is None or not math.isfinite(utility) else {**metrics, "utility": utility}
