"""What the catalog says about corpora and datasets, as plain records."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmix.training.report.queries.reader import Pair, Reader, domain_order, position, records


@dataclass(frozen=True, kw_only=True)
class CorpusFacts:
    """The newest version of a corpus; the columns of the view `corpora`.

    Attributes:
        reasons: Rejected documents by reason, most frequent first.
        found: Documents in which the newest search of each kind (`duplicates`, `contamination`)
            found something; a kind that was not looked for is missing.
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
    found: Mapping[str, int]


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
        found: As in `CorpusFacts`, by kind and domain of each field.
        drops: Kinds of which the dataset leaves the documents out.
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
    found: Mapping[str, Mapping[Pair, int]]
    drops: frozenset[str]


def read_corpora(catalog: Reader) -> list[CorpusFacts]:
    """The newest version of every corpus."""
    found = records(
        catalog,
        "SELECT corpus, version, field, synthetic, documents, rejected, classifier,"
        " strftime(created_at, '%Y-%m-%d %H:%M') AS created_at FROM corpora"
        " QUALIFY row_number() OVER (PARTITION BY corpus ORDER BY version DESC) = 1"
        " ORDER BY field, corpus",
    )
    return [
        CorpusFacts(
            **row,
            reasons=_reasons(catalog, row["corpus"], row["version"]),
            found=_found_in_corpus(catalog, row["corpus"], row["version"]),
        )
        for row in found
    ]


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
        corpora = tuple(str(name) for name in row["corpora"] or ())
        found.append(
            Dataset(
                **{**row, "corpora": corpora},
                streams=_streams(catalog, row["dataset"], order),
                start=_start(catalog, row["dataset"], order),
                found=_found_in_dataset(catalog, row["dataset"], corpora),
                drops=_dropped(catalog, row["dataset"]),
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


def _searches(catalog: Reader, condition: str, parameters: list[Any]) -> dict[str, str]:
    """The newest search of each kind among those of which the condition holds."""
    _, rows = catalog.query(
        f"SELECT kind, screening FROM screenings WHERE {condition}"
        " QUALIFY row_number() OVER (PARTITION BY kind ORDER BY created_at DESC, screening) = 1",
        parameters,
    )
    return {str(kind): str(screening) for kind, screening in rows}


def _found_in_corpus(catalog: Reader, corpus: str, version: int) -> dict[str, int]:
    searches = _searches(catalog, "list_contains(corpora, ?)", [f"{corpus}@v{version}"])
    found = {}
    for kind, screening in searches.items():
        _, [(count,)] = catalog.query(
            f"SELECT count(DISTINCT (path, position)) FROM {kind} WHERE screening = ? AND corpus = ?",
            [screening, corpus],
        )
        found[kind] = int(count)
    return found


def _found_in_dataset(catalog: Reader, dataset: str, corpora: tuple[str, ...]) -> dict[str, dict[Pair, int]]:
    found = {}
    for kind, screening in _searches(catalog, "list_sort(corpora) = list_sort(?)", [list(corpora)]).items():
        _, rows = catalog.query(
            f"SELECT field, domain, count(DISTINCT (corpus, path, position)) FROM {kind}"
            " WHERE screening = ? AND dataset = ? AND domain IS NOT NULL GROUP BY field, domain",
            [screening, dataset],
        )
        found[kind] = {(field, domain): int(count) for field, domain, count in rows}
    return found


def _dropped(catalog: Reader, dataset: str) -> frozenset[str]:
    columns = {"duplicates": "dropped", "contamination": "removed"}
    return frozenset(
        kind
        for kind, column in columns.items()
        if catalog.query(f"SELECT bool_or({column}) FROM {kind} WHERE dataset = ?", [dataset])[1][0][0]
    )


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
