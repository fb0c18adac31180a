"""HTML tables of the report; all of them scroll inside their own box on a narrow screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.training.report import series
from dmix.training.report.facts import (
    Corpus,
    Dataset,
    Departure,
    Pair,
    Run,
    RunEvent,
    StartWeight,
    StreamFacts,
)
from dmix.training.report.markup import Markup, join, tag
from dmix.warehouse_schema.taxonomy import FIELDS

MAX_EVENTS = 300


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text.

    Attributes:
        text: What is shown.
        sort: Number to sort by.
        bar: Length of a bar behind the text, against the longest one of its column; None for no bar.
        field: Whose colour the bar has.
    """

    text: "str | Markup"
    sort: float | None = None
    bar: float | None = None
    field: str = "source"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str,
    groups: Sequence[tuple[str, int]] = (),
    total: Sequence[Any] | None = None,
) -> Markup:
    """A table that sorts by a click on a heading.

    Args:
        columns: Headings; the first column stays in view while the others scroll.
        rows: Cells: `Cell`, `Markup`, text, numbers or None.
        caption: What the table shows, read out and shown above it.
        groups: Headings over several columns as (text, columns).
        total: A last row that sorting leaves in place.
    """
    numeric = [any(isinstance(row[i], int | float | Cell) for row in rows) for i in range(len(columns))]
    heads = [
        tag("th", tag("button", name, type="button"), scope="col", class_="number" if numeric[i] else None)
        for i, name in enumerate(columns)
    ]
    over = [tag("th", text, scope="colgroup", colspan=span) for text, span in groups]
    head = join([tag("tr", *over, class_="groups") if over else None, tag("tr", *heads)])
    longest = [max((_bar(row[i]) for row in rows), default=0.0) for i in range(len(columns))]
    body = join(_row(row, numeric, longest) for row in rows)
    foot = tag("tfoot", _row(total, numeric, longest)) if total is not None else None
    inner = tag("table", tag("thead", head), tag("tbody", body), foot, class_="data", aria_label=caption)
    box = tag("div", inner, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return join([tag("p", caption, class_="caption"), box])


def pairs_list(facts: Mapping[str, Any]) -> Markup:
    """Names with values, in as many columns as fit; what is None or empty is left out."""
    entries = [
        tag("div", tag("dt", name), tag("dd", value if isinstance(value, Markup) else _text(value)))
        for name, value in facts.items()
        if value not in (None, "", ())
    ]
    return tag("dl", *entries, class_="facts")


def final_table(runs: Sequence[Run]) -> Markup:
    """Last scores and the tokens that they cost, one row a run."""
    objectives = list(dict.fromkeys(name for run in runs for name in run.scores))
    utilities = [series.final_utility(run) for run in runs]
    with_utility = any(value is not None for value in utilities)
    rows = []
    for run, value in zip(runs, utilities, strict=True):
        scores, used = series.final_scores(run), series.tokens_used(run)
        row: list[Any] = [
            tag("a", run.run_id, href=f"#run-{run.run_id}"),
            run.controller,
            _whole(series.setting_of(run.config, "seed")),
            status_badge(run.status),
            Cell(steps_text(run), sort=series.steps_done(run)),
            used["source"],
            used["target"],
        ]
        row += [_utility_cell(value)] if with_utility else []
        rows.append(row + [_score_cell(scores.get(name)) for name in objectives])
    columns = ["run", "controller", "seed", "status", "steps", "source tokens", "target tokens"]
    columns += (["utility"] if with_utility else []) + objectives
    return table(columns, rows, caption="Final scores (change from step 0) and tokens used")


def steps_text(run: Run) -> str:
    """Steps done, of those planned where the configuration says it."""
    planned = series.setting_of(run.config, "steps")
    return f"{series.steps_done(run):,}" + (f" of {planned:,}" if isinstance(planned, int) else "")


def status_badge(status: str) -> Markup:
    """The status as a word with its own colour and mark."""
    marks = {"done": "✓", "running": "▶", "failed": "✗", "stale": "…"}
    known = status if status in marks else "stale"
    return tag("span", f"{marks.get(status, '')} {status}".strip(), class_=f"badge {known}")


def domain_table(dataset: Dataset) -> Markup:
    """Documents, tokens, samples, shares and start state of every domain, field beside field."""
    streams = {(s.field, s.domain): s for s in dataset.streams}
    start = {(w.estimator, w.field, w.domain): w for w in dataset.start}
    models = [name for name in dict.fromkeys(w.estimator for w in dataset.start) if name != "corpus"]
    domains = list(dict.fromkeys(s.domain for s in dataset.streams if s.documents or s.samples))
    domains += [
        d for d in dict.fromkeys(w.domain for w in dataset.start if w.sample_weight) if d not in domains
    ]
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


def corpora_table(corpora: Sequence[Corpus]) -> Markup:
    """The newest version of every corpus."""
    rows = [
        [
            c.corpus,
            c.field,
            c.version,
            c.documents,
            c.rejected,
            c.classifier,
            "yes" if c.synthetic else "no",
            c.created_at,
        ]
        for c in corpora
    ]
    columns = ["corpus", "field", "version", "documents", "rejected", "classifier", "synthetic", "created"]
    return table(columns, rows, caption="Corpora, newest version of each")


def delivered_table(run: Run, ranks: Mapping[Pair, int]) -> Markup:
    """What a run drew from each domain in all: mean shares, samples, tokens, passes."""
    means = {
        quantity: mixture.weights_TN.mean(axis=0)
        for quantity in series.QUANTITIES
        if len((mixture := series.shares(run, quantity)).steps_T)
    }
    samples_N, tokens_N = (np.nan_to_num(v).sum(axis=0) for v in (run.samples_TN, run.tokens_TN))
    passes_N = np.nan_to_num(run.passes_TN).max(axis=0, initial=0.0)
    rows = []
    for index, (field, domain) in enumerate(run.pairs):
        if (field, domain) not in ranks:
            continue
        shares = [
            _share_cell(float(means[quantity][index]), field) if quantity in means else None
            for quantity in reversed(series.QUANTITIES)
        ]
        passes = Cell(f"{passes_N[index]:.2f}", sort=float(passes_N[index]))
        drawn = [int(samples_N[index]), int(tokens_N[index]), passes]
        rows.append([domain.replace("_", " "), field, *shares, *drawn])
    columns = ["domain", "field", "asked", "planned", "delivered", "samples", "tokens", "passes"]
    return table(columns, rows, caption="Mean shares over the steps, and what was delivered in all")


def events_table(events: Sequence[RunEvent]) -> Markup:
    """Notes and marks of a run; of very many the last ones."""
    shown = events[-MAX_EVENTS:]
    rows = [[event.step, event.kind.replace("_", " "), event.detail] for event in shown]
    left_out = f", the last {MAX_EVENTS} of {len(events):,}" if len(events) > len(shown) else ""
    return table(["step", "event", "detail"], rows, caption=f"Events{left_out}")


def departures_table(departures: Sequence[Departure]) -> Markup:
    """Where and why the plan is not what was asked for."""
    shown = departures[:MAX_EVENTS]
    rows = [
        [d.domain.replace("_", " "), d.field, d.reason, d.steps, d.first_step, d.last_step] for d in shown
    ]
    left_out = f", the first {MAX_EVENTS} of {len(departures):,}" if len(departures) > len(shown) else ""
    return table(
        ["domain", "field", "reason", "steps", "first step", "last step"],
        rows,
        caption=f"Where planned differs from asked{left_out}",
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
        _share_cell(counted.document_weight if counted else None, field),
        _share_cell(counted.sample_weight if counted else None, field),
    ]
    return cells + [_interval_cell(start.get((name, field, domain)), field) for name in models]


def _share_cell(share: float | None, field: str) -> Cell | None:
    if share is None or not np.isfinite(share):
        return None
    text = "0" if share == 0 else f"{share:.2%}" if share >= 0.0001 else "<0.01%"
    return Cell(text, sort=share, bar=share, field=field)


def _interval_cell(weight: StartWeight | None, field: str) -> Cell | None:
    cell = _share_cell(weight.sample_weight if weight else None, field)
    if (
        cell is None
        or weight is None
        or weight.low is None
        or weight.high is None
        or weight.low == weight.high
    ):
        return cell
    return Cell(f"{cell.text} ({weight.low:.2%} to {weight.high:.2%})", cell.sort, cell.bar, field)


def _whole(number: Any) -> Cell | None:
    """A seed: a number without separators."""
    return Cell(str(number), sort=number) if isinstance(number, int) else None


def _score_cell(score: series.FinalScore | None) -> Cell | None:
    if score is None:
        return None
    change = "" if score.change is None else f" ({score.change:+.4f})"
    return Cell(f"{score.last:.4f}{change}", sort=score.last)


def _utility_cell(value: float | None) -> Cell | None:
    return None if value is None else Cell(f"{value:+.4f}", sort=value)


def _bar(value: Any) -> float:
    return value.bar or 0.0 if isinstance(value, Cell) else 0.0


def _row(row: Sequence[Any], numeric: Sequence[bool], longest: Sequence[float]) -> Markup:
    return tag("tr", *(_cell(value, i, numeric[i], longest[i]) for i, value in enumerate(row)))


def _cell(value: Any, column: int, numeric: bool, longest: float) -> Markup:
    bar, sort = None, None
    if isinstance(value, Cell):
        sort = None if value.sort is None else f"{value.sort:.8g}"
        bar = f"--share:{value.bar / longest:.3f};--bar:var(--{value.field})" if value.bar else None
        value = value.text
    elif isinstance(value, int | float):
        sort = str(value)
    classes = " ".join(filter(None, ["number" if numeric else "", "bar" if bar else ""]))
    content = value if isinstance(value, Markup) else _text(value)
    return tag(
        "th" if column == 0 else "td",
        content,
        scope="row" if column == 0 else None,
        class_=classes or None,
        data_sort=sort,
        style=bar,
    )


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
