"""The start state of a dataset: what each domain's share of its field is.

Weights count samples (method §1: rho_s and rho_t are shares of samples within a field); shares
of documents, which the paper reports in its Fig. 3, stand beside them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.taxonomy import FIELDS


@dataclass(frozen=True, kw_only=True)
class DomainShare:
    """One (field, domain) of a dataset.

    Attributes:
        document_weight: Share of the field's documents, 0 to 1; 0 in a field without any.
        sample_weight: Share of the field's samples, 0 to 1; 0 in a field without any.
    """

    field: str
    domain: str
    documents: int
    samples: int
    tokens: int
    tail_tokens: int
    document_weight: float
    sample_weight: float


@dataclass(frozen=True, kw_only=True)
class FieldSummary:
    """How many domains a field really has.

    Attributes:
        active: Domains with at least one sample; the others are masked in every mixture.
        effective: exp(entropy) of the sample shares: as many equal domains would be as diverse.
        effective_documents: The same for document shares.
    """

    field: str
    documents: int
    samples: int
    tokens: int
    active: int
    effective: float
    effective_documents: float


def start_state(manifest: DatasetManifest) -> tuple[DomainShare, ...]:
    """Shares of all N (field, domain) pairs, in domain-space order."""
    totals = {
        field: (
            sum(s.documents for s in manifest.streams if s.field == field),
            sum(s.samples for s in manifest.streams if s.field == field),
        )
        for field in FIELDS
    }
    return tuple(
        DomainShare(
            field=stream.field,
            domain=stream.domain,
            documents=stream.documents,
            samples=stream.samples,
            tokens=stream.tokens,
            tail_tokens=stream.tail_tokens,
            document_weight=_share(stream.documents, totals[stream.field][0]),
            sample_weight=_share(stream.samples, totals[stream.field][1]),
        )
        for stream in manifest.streams
    )


def summarise(shares: Sequence[DomainShare]) -> tuple[FieldSummary, ...]:
    """Totals, active dimensions and effective numbers of each field, source first."""
    summaries = []
    for field in FIELDS:
        domains = [share for share in shares if share.field == field]
        summaries.append(
            FieldSummary(
                field=field,
                documents=sum(share.documents for share in domains),
                samples=sum(share.samples for share in domains),
                tokens=sum(share.tokens for share in domains),
                active=sum(share.samples > 0 for share in domains),
                effective=effective_number(share.sample_weight for share in domains),
                effective_documents=effective_number(share.document_weight for share in domains),
            )
        )
    return tuple(summaries)


def effective_number(weights: Iterable[float]) -> float:
    """exp(entropy) of a probability vector, in nats inside: n for n equal weights, 0 for none."""
    positive = [weight for weight in weights if weight > 0]
    if not positive:
        return 0.0
    return math.exp(-sum(weight * math.log(weight) for weight in positive))


def _share(count: int, total: int) -> float:
    return count / total if total else 0.0
