"""Shares of domains among sampled documents, and how sure one can be of them.

What is estimated is the vector p of document shares. The distance between two vectors is
KL(estimate || truth) in nats, as in the paper's Fig. 3. Sampling alone puts it near
(C - 1) / 2n for C domains and n documents; `divergence_bound` gives a quantile by the bootstrap:
documents are drawn anew from those that were seen, and the new shares are compared with the old.
It bounds what more documents would change. What is wrong with the model itself, or with the
classifier on its text, no number of documents shows.

Shapes: D documents, C domains, S resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class ShareIntervals:
    """Shares with their bootstrap intervals, each of shape (C,), 0 to 1.

    Attributes:
        documents: Shares of documents.
        documents_low: Lower ends.
        documents_high: Upper ends.
        tokens: Shares of tokens.
        tokens_low: Lower ends.
        tokens_high: Upper ends.
    """

    documents: NDArray[np.float64]
    documents_low: NDArray[np.float64]
    documents_high: NDArray[np.float64]
    tokens: NDArray[np.float64]
    tokens_low: NDArray[np.float64]
    tokens_high: NDArray[np.float64]


def shares(counts: NDArray) -> NDArray[np.float64]:
    """`counts` divided by their sum; zeros if that is 0."""
    total = counts.sum()
    return counts / total if total else np.zeros(counts.shape)


def smoothed_shares(counts: NDArray) -> NDArray[np.float64]:
    """Shares with half a document added to every domain, so that none is 0."""
    return shares(counts + 0.5)


def divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """KL(p || q) in nats; 0 log 0 is 0, and a q of 0 where p is above makes it infinite."""
    seen = p > 0
    with np.errstate(divide="ignore"):
        return max(0.0, float((p[seen] * (np.log(p[seen]) - np.log(q[seen]))).sum()))


def divergence_bound(counts: NDArray[np.int64], *, confidence: float, seed: int) -> float:
    """The `confidence` quantile of KL(shares of a resample || shares seen), in nats.

    Args:
        counts: Documents of each domain, shape (C,).
        confidence: Above 0, below 1.
        seed: Of the resamples.

    Returns:
        Infinite without a document.
    """
    total = int(counts.sum())
    if not total:
        return float("inf")
    seen = shares(counts)
    drawn_SC = np.random.default_rng([seed, total]).multinomial(total, seen, size=RESAMPLES) / total
    present = seen > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_SC = np.where(drawn_SC > 0, drawn_SC * np.log(drawn_SC / np.where(present, seen, 1.0)), 0.0)
    return max(0.0, float(np.quantile(terms_SC.sum(axis=1), confidence)))


def share_intervals(
    domains_D: NDArray[np.int64],
    tokens_D: NDArray[np.int64],
    *,
    num_domains: int,
    confidence: float,
    seed: int,
) -> ShareIntervals:
    """Shares of documents and of tokens with percentile intervals over resampled documents.

    Args:
        domains_D: Index of each document's domain.
        tokens_D: Tokens of each document.
        num_domains: C.
        confidence: Probability that an interval is to hold, above 0, below 1.
        seed: Of the resamples.
    """
    rng = np.random.default_rng([seed, len(domains_D), 1])
    ones_D = np.ones_like(tokens_D)
    document_SC, token_SC = [], []
    for _ in range(RESAMPLES):
        picked_D = rng.integers(0, len(domains_D), size=len(domains_D))
        document_SC.append(shares(_sums(domains_D[picked_D], ones_D, num_domains)))
        token_SC.append(shares(_sums(domains_D[picked_D], tokens_D[picked_D], num_domains)))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    documents_low, documents_high = np.quantile(document_SC, ends, axis=0)
    tokens_low, tokens_high = np.quantile(token_SC, ends, axis=0)
    return ShareIntervals(
        documents=shares(_sums(domains_D, ones_D, num_domains)),
        documents_low=documents_low,
        documents_high=documents_high,
        tokens=shares(_sums(domains_D, tokens_D, num_domains)),
        tokens_low=tokens_low,
        tokens_high=tokens_high,
    )


def _sums(domains_D: NDArray[np.int64], values_D: NDArray[np.int64], num_domains: int) -> NDArray[np.float64]:
    return np.bincount(domains_D, weights=values_D, minlength=num_domains).astype(np.float64)
