"""What the catalog says about corpora and datasets, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmix.training.report.reader import Pair, Reader, domain_order, position, records


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The newest version of a corpus; the columns of the view `corpora`.

    Attributes:
        reasons: Rejected documents by reason, most frequent first.
    """

    corpus: str
    version: int
    field: str
    synthetic: bool
    documents: int
    rejected: int
    classifier: str
    created_at: str
    reasons: tuple[tuple[str, int], ...]


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """What one (field, domain) of a dataset holds; the columns of the view `domain_tokens`."""

    field: str
    domain: str
    documents: int
    samples: int
    tokens: int
    tail_tokens: int


@dataclass(frozen=True, kw_only=True)
class StartWeight:
    """One row of the view `start_state`; shares are None where nothing was counted."""

    estimator: str
    field: str
    domain: str
    document_weight: float | None
    document_low: float | None
    document_high: float | None
    sample_weight: float | None
    weight_low: float | None
    weight_high: float | None


@dataclass(frozen=True, kw_only=True)
class ConvergencePoint:
    """One row of the view `start_state_convergence`: an estimate after so many documents, in nats."""

    estimator: str
    documents: int
    divergence: float | None
    divergence_bound: float | None
    divergence_to_corpus: float | None
    kl_bound: float | None
    confidence: float | None


@dataclass(frozen=True, kw_only=True)
class StartState:
    """What is known of a start state.

    Attributes:
        weights: Shares by estimator and domain.
        convergence: How the estimates by models came about, by estimator and documents.
    """

    weights: tuple[StartWeight, ...]
    convergence: tuple[ConvergencePoint, ...]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A dataset with its domains in taxonomy order.

    Attributes:
        duplicates: Exact duplicates that were found in its corpora, by corpus (name without version).
        drops_duplicates: Whether the dataset leaves them out.
    """

    dataset: str
    name: str
    taxonomy: str
    tokenizer: str
    seq_len: int
    seed: int
    corpora: tuple[str, ...]
    created_at: str
    streams: tuple[StreamFacts, ...]
    start: StartState
    duplicates: Mapping[str, int]
    drops_duplicates: bool


def read_corpora(catalog: Reader) -> list[Corpus]:
    """The newest version of every corpus."""
    found = records(
        catalog,
        "SELECT corpus, version, field, synthetic, documents, rejected, classifier,"
        " strftime(created_at, '%Y-%m-%d %H:%M') AS created_at FROM corpora"
        " QUALIFY row_number() OVER (PARTITION BY corpus ORDER BY version DESC) = 1"
        " ORDER BY field, corpus",
    )
    return [Corpus(**row, reasons=_reasons(catalog, row["corpus"], row["version"])) for row in found]


def read_datasets(catalog: Reader) -> list[Dataset]:
    """Every dataset, newest first, with what its domains hold."""
    rows = records(
        catalog,
        "SELECT dataset, name, taxonomy, tokenizer, seq_len, seed, corpora,"
        " strftime(created_at, '%Y-%m-%d %H:%M') AS created_at FROM datasets"
        " ORDER BY datasets.created_at DESC, dataset",
    )
    found = []
    for row in rows:
        order = domain_order(catalog, row["dataset"])
        found.append(
            Dataset(
                **{**row, "corpora": tuple(str(name) for name in row["corpora"] or ())},
                streams=_streams(catalog, row["dataset"], order),
                start=_start(catalog, row["dataset"], order),
                **_duplicates(catalog, row["dataset"]),
            )
        )
    return found


def read_lone_start(catalog: Reader) -> StartState:
    """What models were asked for without a dataset."""
    return _start(catalog, None, {})


def _reasons(catalog: Reader, corpus: str, version: int) -> tuple[tuple[str, int], ...]:
    _, rows = catalog.query(
        "SELECT reason, count(*) FROM rejects WHERE corpus = ? AND version = ?"
        " GROUP BY reason ORDER BY count(*) DESC, reason",
        [corpus, version],
    )
    return tuple((reason, int(count)) for reason, count in rows)


def _duplicates(catalog: Reader, dataset: str) -> dict[str, Any]:
    _, rows = catalog.query(
        "SELECT corpus, count(*), bool_or(dropped) FROM duplicates WHERE dataset = ?"
        " GROUP BY corpus ORDER BY corpus",
        [dataset],
    )
    return {
        "duplicates": {corpus: int(count) for corpus, count, _ in rows},
        "drops_duplicates": any(dropped for _, _, dropped in rows),
    }


def _streams(catalog: Reader, dataset: str, order: Mapping[str, int]) -> tuple[StreamFacts, ...]:
    rows = records(
        catalog,
        "SELECT field, domain, documents, samples, tokens, tail_tokens FROM domain_tokens WHERE dataset = ?",
        [dataset],
    )
    found = (StreamFacts(**row) for row in rows)
    return tuple(sorted(found, key=lambda stream: position(_pair(stream), order)))


def _start(catalog: Reader, dataset: str | None, order: Mapping[str, int]) -> StartState:
    weights = records(
        catalog,
        "SELECT estimator, field, domain, document_weight, document_low, document_high, sample_weight,"
        " weight_low, weight_high FROM start_state WHERE dataset IS NOT DISTINCT FROM ?",
        [dataset],
    )
    convergence = records(
        catalog,
        "SELECT estimator, documents, divergence, divergence_bound, divergence_to_corpus, kl_bound,"
        " confidence FROM start_state_convergence WHERE dataset IS NOT DISTINCT FROM ?"
        " ORDER BY estimator, documents",
        [dataset],
    )
    found = (StartWeight(**row) for row in weights)
    return StartState(
        weights=tuple(sorted(found, key=lambda row: (row.estimator, position(_pair(row), order)))),
        convergence=tuple(ConvergencePoint(**row) for row in convergence),
    )


def _pair(row: StreamFacts | StartWeight) -> Pair:
    return row.field, row.domain
