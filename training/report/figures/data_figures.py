"""Figures of a dataset: the size of its domains, and the start state by estimator."""

import math
from collections.abc import Sequence
from typing import Any

from dmix.training.report.figures.bands import COLOURS
from dmix.training.report.figures.charts import (
    ROWS_MARGIN,
    Choice,
    Drawing,
    Figure,
    Panel,
    domain_text,
    drawing,
    line_style,
    plain_text,
    rounded,
)
from dmix.training.report.queries.data_facts import Dataset, StartState, StartWeight
from dmix.warehouse_schema.taxonomy import FIELDS

_BAR_ROW_HEIGHT = 26


def domain_sizes(dataset: Dataset, *, panel_id: str) -> Panel:
    """Tokens or documents of each domain, source beside target."""
    filled = [s.domain for s in dataset.streams if s.documents or s.tokens]
    domains = sorted(
        dict.fromkeys(filled), key=lambda d: -sum(s.tokens for s in dataset.streams if s.domain == d)
    )
    variants = {}
    for amount in ("tokens", "documents"):
        figure = drawing(x_title=amount, y_title="", y_format=None)
        for field in FIELDS:
            held = {s.domain: getattr(s, amount) for s in dataset.streams if s.field == field}
            figure.trace(
                "bar",
                x=[held.get(domain, 0) for domain in domains],
                y=[domain_text(domain) for domain in domains],
                name=field,
                orientation="h",
                marker={"color": f"var(--{field})", "line": {"width": 0}},
            )
        figure.layout(barmode="group", bargap=0.25, hovermode="y unified", height=_height(len(domains)))
        figure.x_axis(tickformat="~s", hoverformat=",d")
        figure.y_axis(type="category", showgrid=False, autorange="reversed")
        variants[amount] = figure
    return Panel(
        panel_id=panel_id,
        note="",
        choices=(Choice("Amount", (("tokens", "tokens"), ("documents", "documents"))),),
        figures=(Figure(title="Domains by size", variants=variants),),
    )


def start_state(start: StartState, *, panel_id: str) -> Panel | None:
    """Shares of domains within each field by estimator, with intervals (the paper's Fig. 3).

    None where no share is known.
    """
    figures = []
    for field in FIELDS:
        held = [row for row in start.weights if row.field == field]
        largest: dict[str, float] = {}
        for row in held:
            shares = (row.document_weight or 0.0, row.sample_weight or 0.0)
            largest[row.domain] = max(largest.get(row.domain, 0.0), *shares)
        domains = sorted((d for d, weight in largest.items() if weight > 0), key=lambda d: -largest[d])
        if domains:
            variants = {amount: _shares(held, domains, amount, field) for amount in ("samples", "documents")}
            figures.append(Figure(title=f"Start state of the {field}", variants=variants))
    if not figures:
        return None
    return Panel(
        panel_id=panel_id,
        note="Share of each domain within its field, by estimator. 'corpus': counted in the data, "
        "without an interval. 'model': estimated from text that a model wrote, with an interval.",
        choices=(Choice("Shares of", (("samples", "samples"), ("documents", "documents"))),),
        figures=tuple(figures),
    )


def convergence(start: StartState, *, panel_id: str) -> Panel | None:
    """How the estimates by models converged with the number of documents (the paper's Fig. 3).

    None where no model was asked.
    """
    if not start.convergence:
        return None
    figure = drawing(x_title="documents", y_title="KL divergence in nats", y_format=".4f")
    for slot, name in enumerate(dict.fromkeys(point.estimator for point in start.convergence)):
        points = [point for point in start.convergence if point.estimator == name]
        style = line_style(slot, points=len(points))
        for what, attribute, dash in (
            ("from the end of the sampling", "divergence", "solid"),
            (f"bound at {points[0].confidence or 0:.0%}", "divergence_bound", "dot"),
            ("from the corpus", "divergence_to_corpus", "dashdot"),
        ):
            values = [getattr(point, attribute) for point in points]
            if any(value is not None for value in values):
                figure.trace(
                    "scatter",
                    x=[point.documents for point in points],
                    y=_positive(values),
                    name=f"{plain_text(name)}: {what}",
                    mode="lines",
                    line={**style["line"], "dash": dash},
                )
        if points[0].kl_bound is not None:
            figure.trace(
                "scatter",
                x=[points[0].documents, points[-1].documents],
                y=[points[0].kl_bound] * 2,
                name=f"{plain_text(name)}: wanted",
                mode="lines",
                line={**style["line"], "dash": "dash", "width": 1},
            )
    figure.x_axis(type="log", tickformat="~s", hoverformat=",d")
    seen = [y for trace in figure.traces for y in trace["y"] if y is not None]
    figure.y_axis(type="log", tickvals=_log_ticks(seen), tickformat="~g")
    return Panel(
        panel_id=panel_id,
        note="KL divergence of the estimate from its final value and from the documents of the corpus, "
        "by number of documents. dmix stops when the divergence is below the bound.",
        figures=(Figure(title="Convergence of the start state", variants={"": figure}),),
    )


def _shares(held: Sequence[StartWeight], domains: Sequence[str], amount: str, field: str) -> Drawing:
    figure = drawing(x_title=f"share of {amount}", y_title="", y_format=None)
    for slot, estimator in enumerate(dict.fromkeys(row.estimator for row in held)):
        of = {row.domain: row for row in held if row.estimator == estimator}
        points = [(domain, *_share(of[domain], amount)) for domain in domains if domain in of]
        points = [point for point in points if point[1] is not None]
        figure.trace(
            "scatter",
            x=rounded(weight for _, weight, _, _ in points),
            y=[domain_text(domain) for domain, _, _, _ in points],
            error_x=_interval(points),
            name=plain_text(estimator),
            mode="markers",
            marker={
                **line_style(slot, points=1)["marker"],
                "size": 8,
                "color": f"var(--{field}-{slot % COLOURS + 1})",
            },
            cliponaxis=False,  # a share of 0 lies on the axis
        )
    figure.layout(hovermode="y unified", height=_height(len(domains), row=20))
    figure.x_axis(tickformat="~%", hoverformat=".2%", rangemode="tozero")
    return figure.y_axis(type="category", autorange="reversed")


def _share(row: StartWeight, amount: str) -> tuple[Any, float, float]:
    """(share, low, high); an end that is not known is the share itself."""
    share, low, high = (
        (row.document_weight, row.document_low, row.document_high)
        if amount == "documents"
        else (row.sample_weight, row.weight_low, row.weight_high)
    )
    known = share or 0.0
    return share, known if low is None else low, known if high is None else high


def _interval(points: Sequence[tuple[str, Any, float, float]]) -> dict[str, object] | None:
    """Error bars; None where no interval has a width."""
    if all(low == high for _, _, low, high in points):
        return None
    return {
        "type": "data",
        "symmetric": False,
        "array": rounded(high - share for _, share, _, high in points),
        "arrayminus": rounded(share - low for _, share, low, _ in points),
        "width": 3,
        "thickness": 1.2,
    }


def _positive(values: Sequence[float | None]) -> list[float | None]:
    """What a logarithmic axis can show: no zero, which an estimate has against itself."""
    return rounded(math.nan if value is None or value <= 0 else value for value in values)


def _log_ticks(values: Sequence[float]) -> list[float]:
    """1, 2 and 5 times the powers of ten around some positive numbers."""
    if not values:
        return []
    least, most = (math.floor(math.log10(end)) for end in (min(values), max(values)))
    return [float(f"{digit}e{power}") for power in range(least, most + 1) for digit in (1, 2, 5)]


def _height(rows: int, *, row: int = _BAR_ROW_HEIGHT) -> int:
    return ROWS_MARGIN + row * max(3, rows)
