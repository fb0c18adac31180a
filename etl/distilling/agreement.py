"""How well a classifier agrees with the one whose labels it learned from.

Documents are weighted, so that a sample with as many documents of a rare label as of a common one
tells about the corpus. Shapes: N documents, C labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.taxonomy import Taxonomy

MARGINS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, kw_only=True)
class DomainAgreement:
    """Agreement on the documents to which the teacher gave one label.

    Attributes:
        documents: Held-out documents with it.
        agreement: Share of them that get it from the student, too.
        precision: Share of the documents that get it from the student to which the teacher gave it, as
            the corpus has them; None if there is none.
    """

    domain: str
    documents: int
    agreement: float
    precision: float | None


@dataclass(frozen=True, kw_only=True)
class MarginAgreement:
    """What asking the teacher about low margins would give.

    Attributes:
        margin: Documents below it are sent to the teacher.
        sent: Share of documents that are.
        kept_agreement: Agreement on the others; None if there is none.
        agreement: Agreement of both together, the teacher agreeing with itself.
    """

    margin: float
    sent: float
    kept_agreement: float | None
    agreement: float


def weighted_agreement(agree_N: NDArray[np.bool_], weights_N: NDArray[np.float64]) -> float:
    """Weighted share of true values; of none, 0."""
    total = float(weights_N.sum())
    return round(float(weights_N[agree_N].sum()) / total, 4) if total else 0.0


def domain_agreements(
    labels_N: NDArray[np.integer],
    predicted_N: NDArray[np.integer],
    weights_N: NDArray[np.float64],
    taxonomy: Taxonomy,
) -> tuple[DomainAgreement, ...]:
    """Agreement for each label that held-out documents have, in the order of the taxonomy."""
    rows = []
    for index in np.unique(labels_N).tolist():
        of_label, given = labels_N == index, predicted_N == index
        rows.append(
            DomainAgreement(
                domain=taxonomy.labels[index],
                documents=int(of_label.sum()),
                agreement=weighted_agreement(given[of_label], weights_N[of_label]),
                precision=weighted_agreement(of_label[given], weights_N[given]) if given.any() else None,
            )
        )
    return tuple(rows)


def margin_agreements(
    agree_N: NDArray[np.bool_],
    margin_N: NDArray[np.floating],
    weights_N: NDArray[np.float64],
    margins: Sequence[float] = MARGINS,
) -> tuple[MarginAgreement, ...]:
    """Agreement as a function of the margin below which the teacher is asked."""
    rows = []
    for margin in margins:
        sent_N = margin_N < np.float32(margin)
        kept_N = ~sent_N
        rows.append(
            MarginAgreement(
                margin=margin,
                sent=weighted_agreement(sent_N, weights_N),
                kept_agreement=weighted_agreement(agree_N[kept_N], weights_N[kept_N])
                if kept_N.any()
                else None,
                agreement=weighted_agreement(agree_N | sent_N, weights_N),
            )
        )
    return tuple(rows)
