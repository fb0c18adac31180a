"""A stored start state, estimated from a model: shares with intervals, and their convergence.

Document shares do not depend on the length cap; token shares do, since a long document counts
with its first tokens only. Documents without text have no domain and are left out.

Shapes: D documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from dmix.etl.synthetic.blocks import BlockFile, block_name, read_blocks, require_facts
from dmix.etl.synthetic.start_state.plan import StartStatePlan
from dmix.etl.synthetic.start_state.shares import (
    divergence,
    divergence_bound,
    share_intervals,
    shares,
    smoothed_shares,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import Taxonomy

NO_TEXT = -1
"""Domain of a document without text."""


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """How far the estimate had come after some documents.

    Attributes:
        documents: Documents with text so far.
        divergence: KL(shares so far || shares at the end), in nats.
        divergence_bound: The bootstrap bound that the stop rule looks at.
        divergence_to_corpus: KL(shares so far || document shares of the dataset's source field);
            None without such a dataset. Half a document is added to every domain of the latter.
    """

    documents: int
    divergence: float
    divergence_bound: float
    divergence_to_corpus: float | None


@dataclass(frozen=True, kw_only=True)
class DomainEstimate:
    """One domain of an estimated start state; weights in [0, 1], with the ends of their intervals."""

    domain: str
    documents: int
    tokens: int
    document_weight: float
    document_low: float
    document_high: float
    token_weight: float
    token_low: float
    token_high: float


@dataclass(frozen=True, kw_only=True)
class StartStateEstimate:
    """A start state estimated from a model.

    Attributes:
        name: Of the estimate; the catalog's estimator is `model:<name>`.
        model: Folder or hub id.
        digest: Hash of all that the documents depend on.
        dataset: Dataset that it is compared with; None for none.
        classifier: What gave the domains.
        taxonomy: Its labels.
        seed: Of the documents.
        max_tokens: Length cap of a document.
        generated: Documents written and counted.
        empty: Those of them without text.
        capped: Those of them that the cap ended.
        kl_bound: What was asked for.
        confidence: Of the bound and the intervals.
        divergence_bound: What was reached.
        converged: Whether it is small enough; False if `max_documents` came first.
        domains: In the order of the taxonomy.
        curve: One point a block.
        blocks: Files of the blocks that count, in their order.
        created_at: ISO 8601, UTC.
    """

    name: str
    model: str
    digest: str
    dataset: str | None
    classifier: str
    taxonomy: Taxonomy
    seed: int
    max_tokens: int
    generated: int
    empty: int
    capped: int
    kl_bound: float
    confidence: float
    divergence_bound: float
    converged: bool
    domains: tuple[DomainEstimate, ...]
    curve: tuple[CurvePoint, ...]
    blocks: tuple[BlockFile, ...]
    created_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def documents(self) -> int:
        """Documents that the shares rest on."""
        return self.generated - self.empty


def sampling_bound(counts: NDArray[np.int64], plan: StartStatePlan) -> float:
    """The bound of the KL that the stop rule looks at, in nats, from the documents of each domain."""
    return divergence_bound(counts, confidence=plan.settings.confidence, seed=plan.job.settings.seed)


def domain_counts(domains: Sequence[NDArray[np.int64]], taxonomy: Taxonomy) -> NDArray[np.int64]:
    """Documents with text of each domain in some blocks, shape (len(taxonomy),)."""
    found = np.concatenate([np.zeros(0, np.int64), *domains])
    return np.bincount(found[found != NO_TEXT], minlength=len(taxonomy))


def make_estimate(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> StartStateEstimate:
    """The estimate that some blocks make, from the first.

    Args:
        domains: Of each block, the domain of each document; `NO_TEXT` for those without text.
        plan: The estimation.

    Raises:
        InputError: If no document has text.
    """
    folder, generation, numbers = plan.job.folder, plan.job.settings, range(len(domains))
    domains_D = np.concatenate(list(domains))
    tokens_D = read_blocks(folder, numbers)["tokens"].to_numpy().astype(np.int64)
    told_D = domains_D != NO_TEXT
    if not told_D.any():
        raise InputError(
            f"model {plan.job.model!r} wrote {num_text(len(told_D), 'document')}, and all are empty; check "
            "that the model is trained, or give another --start-token"
        )
    bound = sampling_bound(domain_counts(domains, plan.taxonomy), plan)
    return StartStateEstimate(
        name=plan.name,
        model=plan.job.model,
        digest=plan.job.digest,
        dataset=plan.manifest.dataset if plan.manifest else None,
        classifier=plan.classifier.name,
        taxonomy=plan.taxonomy,
        seed=generation.seed,
        max_tokens=plan.model.max_tokens,
        generated=len(told_D),
        empty=int((~told_D).sum()),
        capped=sum(require_facts(folder / block_name(number)).capped for number in numbers),
        kl_bound=plan.settings.kl_bound,
        confidence=plan.settings.confidence,
        divergence_bound=bound,
        converged=bound <= plan.settings.kl_bound,
        domains=_domain_estimates(plan, domains_D[told_D], tokens_D[told_D]),
        curve=tuple(_curve(domains, plan)),
        blocks=tuple(BlockFile.of(folder / block_name(number)) for number in numbers),
    )


def _domain_estimates(
    plan: StartStatePlan, domains_D: NDArray[np.int64], tokens_D: NDArray[np.int64]
) -> tuple[DomainEstimate, ...]:
    """Shares and intervals of each domain, from the documents with text."""
    num_domains = len(plan.taxonomy)
    found = share_intervals(
        domains_D,
        tokens_D,
        num_domains=num_domains,
        confidence=plan.settings.confidence,
        seed=plan.job.settings.seed,
    )
    counts = np.bincount(domains_D, minlength=num_domains)
    tokens = np.bincount(domains_D, weights=tokens_D, minlength=num_domains)
    return tuple(
        DomainEstimate(
            domain=label,
            documents=int(counts[i]),
            tokens=int(tokens[i]),
            document_weight=float(found.documents[i]),
            document_low=float(found.documents_low[i]),
            document_high=float(found.documents_high[i]),
            token_weight=float(found.tokens[i]),
            token_low=float(found.tokens_low[i]),
            token_high=float(found.tokens_high[i]),
        )
        for i, label in enumerate(plan.taxonomy.labels)
    )


def _curve(domains: Sequence[NDArray[np.int64]], plan: StartStatePlan) -> list[CurvePoint]:
    final = shares(domain_counts(domains, plan.taxonomy))
    corpus = _corpus_shares(plan.manifest)
    points = []
    for count in range(1, len(domains) + 1):
        counts = domain_counts(domains[:count], plan.taxonomy)
        if not counts.sum():
            continue
        points.append(
            CurvePoint(
                documents=int(counts.sum()),
                divergence=divergence(shares(counts), final),
                divergence_bound=sampling_bound(counts, plan),
                divergence_to_corpus=None if corpus is None else divergence(shares(counts), corpus),
            )
        )
    return points


def _corpus_shares(manifest: DatasetManifest | None) -> NDArray[np.float64] | None:
    """Document shares of a dataset's source field, none of them 0; None without source documents."""
    if manifest is None:
        return None
    counts = np.array([stream.documents for stream in manifest.streams if stream.field == "source"])
    return smoothed_shares(counts) if counts.sum() else None
