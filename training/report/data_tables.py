"""Tables about data: corpora, rejects, duplicates, and what the domains of a dataset hold."""

from collections.abc import Mapping, Sequence
from typing import Any

from dmix.training.report.data_facts import Corpus, Dataset, StartWeight, StreamFacts
from dmix.training.report.markup import Markup
from dmix.training.report.reader import Pair
from dmix.training.report.tables import Cell, share_cell, table
from dmix.warehouse_schema.taxonomy import FIELDS


def corpora_table(corpora: Sequence[Corpus], *, duplicates: Mapping[str, str]) -> Markup:
    """The newest version of every corpus.

    Args:
        corpora: The rows.
        duplicates: Exact duplicates that were found, by corpus, in words.
    """
    rows = [
        [
            c.corpus,
            c.field,
            c.version,
            c.documents,
            c.rejected,
            ", ".join(f"{reason.replace('_', ' ')} {count:,}" for reason, count in c.reasons),
            duplicates.get(c.corpus),
            c.classifier,
            "yes" if c.synthetic else "no",
            c.created_at,
        ]
        for c in corpora
    ]
    columns = ["corpus", "field", "version", "documents", "rejected", "rejected because", "duplicates"]
    columns += ["classifier", "synthetic", "created"]
    return table(columns, rows, caption="Corpora, newest version of each")


def domain_table(dataset: Dataset) -> Markup:
    """Documents, tokens, samples, shares and start state of every domain, field beside field."""
    streams = {(s.field, s.domain): s for s in dataset.streams}
    start = {(w.estimator, w.field, w.domain): w for w in dataset.start.weights}
    models = [name for name in dict.fromkeys(w.estimator for w in dataset.start.weights) if name != "corpus"]
    domains = list(dict.fromkeys(s.domain for s in dataset.streams if s.documents or s.samples))
    with_weight = dict.fromkeys(w.domain for w in dataset.start.weights if w.sample_weight)
    domains += [domain for domain in with_weight if domain not in domains]
    rows = [
        [domain.replace("_", " ")]
        + [cell for field in FIELDS for cell in _domain_cells(field, domain, streams, start, models)]
        for domain in domains
    ]
    blanks = [None] * (2 + len(models))
    total = ["all domains"]
    for field in FIELDS:
        held = [s for s in dataset.streams if s.field == field]
        total += [sum(getattr(s, name) for s in held) for name in ("documents", "tokens", "samples")] + blanks
    columns = ["documents", "tokens", "samples", "share of documents", "share of samples"]
    columns += [f"start state, {name}" for name in models]
    return table(
        ["domain", *columns * len(FIELDS)],
        rows,
        caption="Domains: what they hold, and the start state (shares of samples within a field)",
        groups=[("", 1)] + [(field, len(columns)) for field in FIELDS],
        total=total,
    )


def _domain_cells(
    field: str,
    domain: str,
    streams: Mapping[Pair, StreamFacts],
    start: Mapping[tuple[str, str, str], StartWeight],
    models: Sequence[str],
) -> list[Any]:
    held, counted = streams.get((field, domain)), start.get(("corpus", field, domain))
    cells: list[Any] = [held.documents, held.tokens, held.samples] if held else [None] * 3
    cells += [
        share_cell(counted.document_weight if counted else None, field),
        share_cell(counted.sample_weight if counted else None, field),
    ]
    return cells + [_interval_cell(start.get((name, field, domain)), field) for name in models]


def _interval_cell(weight: StartWeight | None, field: str) -> Cell | None:
    cell = share_cell(weight.sample_weight if weight else None, field)
    if cell is None or weight is None or weight.weight_low is None or weight.weight_high is None:
        return cell
    if weight.weight_low == weight.weight_high:
        return cell
    interval = f"{weight.weight_low:.2%} to {weight.weight_high:.2%}"
    return Cell(f"{cell.text} ({interval})", cell.sort, cell.bar, field)
