"""Tables about data: corpora, rejects, duplicates, and what the domains of a dataset hold."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from dmix.training.report.page.tables import Cell, share_cell, table
from dmix.training.report.queries.data_facts import CorpusFacts, Dataset, StartWeight, StreamFacts
from dmix.warehouse_schema.taxonomy import FIELDS

# Counts of a stream that the table of domains shows.
HELD = ("documents", "tokens", "samples")
# What a search is called where its findings are counted.
FOUND = {"duplicates": "copies", "contamination": "with an item"}


def corpora_table(corpora: Sequence[CorpusFacts]) -> Markup:
    """The newest version of every corpus."""
    rows = [
        [
            c.corpus,
            c.field,
            c.version,
            c.documents,
            c.rejected,
            ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in c.reasons),
            *(c.found.get(kind, "not searched") for kind in FOUND),
            c.classifier,
            "yes" if c.synthetic else "no",
            c.created_at,
        ]
        for c in corpora
    ]
    columns = ["corpus", "field", "version", "documents", "rejected", "rejected because"]
    columns += [*FOUND.values(), "classifier", "synthetic", "created"]
    return table(columns, rows, caption="Corpora (newest versions)")


def domain_table(dataset: Dataset) -> Markup:
    """What every domain holds, its shares, its start state and what was found in it, field by field."""
    start = {(w.estimator, w.field, w.domain): w for w in dataset.start.weights}
    models = [name for name in dict.fromkeys(w.estimator for w in dataset.start.weights) if name != "corpus"]
    searched = [kind for kind in FOUND if dataset.found.get(kind)]
    domains = _domains(dataset)
    rows: list[list[Any]] = [[domain.replace("_", " ")] for domain in domains]
    total: list[Any] = ["all domains"]
    for field in FIELDS:
        held = {s.domain: s for s in dataset.streams if s.field == field}
        for row, domain in zip(rows, domains, strict=True):
            counted = start.get(("corpus", field, domain))
            row += [*_held_cells(held.get(domain)), *_share_cells(counted, field)]
            row += [_interval_cell(start.get((name, field, domain)), field) for name in models]
            row += [dataset.found[kind].get((field, domain), 0) for kind in searched]
        total += [sum(getattr(s, name) for s in held.values()) for name in HELD] + [None] * (2 + len(models))
        total += [sum(n for (f, _), n in dataset.found[kind].items() if f == field) for kind in searched]
    columns = [*HELD, "share of documents", "share of samples"]
    columns += [f"start state, {name}" for name in models] + [FOUND[kind] for kind in searched]
    became = [f"; {FOUND[kind]}: {'left out' if kind in dataset.drops else 'kept'}" for kind in searched]
    return table(
        ["domain", *columns * len(FIELDS)],
        rows,
        caption="Domains: size and start state (shares of samples within a field)" + "".join(became),
        groups=[("", 1)] + [(field, len(columns)) for field in FIELDS],
        total=total,
    )


def _domains(dataset: Dataset) -> list[str]:
    """Domains of which there is something to say, in taxonomy order."""
    held = {s.domain for s in dataset.streams if s.documents or s.samples}
    held |= {domain for counts in dataset.found.values() for _, domain in counts}
    told = {w.domain for w in dataset.start.weights if w.sample_weight}
    ordered = dict.fromkeys(s.domain for s in dataset.streams if s.domain in held)
    return [
        *ordered,
        *dict.fromkeys(w.domain for w in dataset.start.weights if w.domain in told - ordered.keys()),
    ]


def _held_cells(stream: StreamFacts | None) -> list[Any]:
    return [None] * len(HELD) if stream is None else [getattr(stream, name) for name in HELD]


def _share_cells(counted: StartWeight | None, field: str) -> list[Cell | None]:
    shares = (counted.document_weight, counted.sample_weight) if counted else (None, None)
    return [share_cell(share, field) for share in shares]


def _interval_cell(weight: StartWeight | None, field: str) -> Cell | None:
    cell = share_cell(weight.sample_weight if weight else None, field)
    if cell is None or weight is None or weight.weight_low is None or weight.weight_high is None:
        return cell
    if weight.weight_low == weight.weight_high:
        return cell
    interval = f"{weight.weight_low:.2%} to {weight.weight_high:.2%}"
    return Cell(f"{cell.text} ({interval})", cell.sort, cell.bar, field)
