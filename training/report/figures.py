"""Plotly figures of the report.

A panel is one or several figures with the choices that a reader has; every combination of
choices is a variant, drawn in Python and switched in the browser. Colours are CSS variables,
legends are made by `assets/report.js` from the traces, since plotly's own one takes the room of
the plot on a phone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go

from dmix.training.report import series
from dmix.training.report.bands import LARGEST, Band, bands
from dmix.training.report.facts import Dataset, Pair, Run
from dmix.training.report.series import Shares
from dmix.warehouse_schema.taxonomy import FIELDS

# Rows of a figure over steps: more than a screen can show would only make the page heavy.
MAX_STEPS = 400
LINE_COLOURS = 8
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross")
DASHES = {"delivered": "solid", "planned": "dash", "asked": "dot"}
# Joins the choices in the key of a variant; it occurs in none of them.
SEPARATOR = "|"


@dataclass(frozen=True)
class Choice:
    """A control above a panel.

    Attributes:
        label: What is chosen, for screen readers and as a caption.
        options: (value in the variant's key, text on the button); the first one is shown at first.
    """

    label: str
    options: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One drawing in all its variants.

    Attributes:
        title: Text above it.
        variants: Plotly figures by the chosen values, joined by `SEPARATOR` in the order of the
            panel's choices; "" without choices.
    """

    title: str
    variants: Mapping[str, go.Figure]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Figures that share their controls.

    Attributes:
        panel_id: Unique in the page.
        note: What to look at, one or two sentences.
    """

    panel_id: str
    note: str
    choices: tuple[Choice, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ScoreLine:
    """A line of a feedback drawing: one objective of one run.

    Attributes:
        name: In the legend.
        position: In the palette.
    """

    name: str
    run: Run
    objective: str
    position: int


def field_mixture(run: Run, *, panel_id: str) -> Panel:
    """Share of source and target over steps: asked, planned and delivered in one drawing."""
    figure = go.Figure()
    width = 1
    for position, field in enumerate(FIELDS):
        for quantity, dash in DASHES.items():
            mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
            width = max(width, mixture.width)
            figure.add_scatter(
                x=mixture.steps_T.tolist(),
                y=_rounded(mixture.by_field(run.pairs)[:, position]),
                name=f"{field} {quantity}",
                mode="lines+markers" if len(mixture.steps_T) < 2 or quantity == "delivered" else "lines",
                line={"color": f"var(--{field})", "dash": dash, "width": 2},
                marker={"size": 5 if len(mixture.steps_T) < 100 else 2, "color": f"var(--{field})"},
            )
    _finish(figure, x_title="step", y_title="share of samples", y_format=".0%")
    figure.update_yaxes(range=[0, 1.02])
    note = (
        "Asked is what the controller wanted, planned what remained of it after masks, floors and exhausted"
        " domains, delivered what the training loop consumed. Lines on top of each other: they agree."
    )
    return Panel(
        panel_id=panel_id,
        note=note + _thinning_note(width),
        choices=(),
        figures=(Figure(title="Mixture by field", variants={"": figure}),),
    )


def domain_mixture(run: Run, ranks: Mapping[Pair, int], *, panel_id: str) -> Panel:
    """Stacked shares of domains over steps; quantity and number of areas are the reader's choice."""
    variants, width = {}, 1
    for quantity in series.QUANTITIES:
        mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
        width = max(width, mixture.width)
        for view in ("largest", "all"):
            stacked = bands(run, ranks, every=view == "all")
            variants[f"{quantity}{SEPARATOR}{view}"] = _stacked(mixture, stacked)
    choices = (
        Choice("Quantity", tuple((quantity, quantity) for quantity in series.QUANTITIES)),
        Choice("Domains", (("largest", f"{LARGEST} largest a field"), ("all", "all domains"))),
    )
    return Panel(
        panel_id=panel_id,
        note="Source domains in cool colours below, target domains in warm colours above. A domain keeps its"
        " colour from run to run as far as the palette goes." + _thinning_note(width),
        choices=choices,
        figures=(Figure(title="Mixture by domain", variants=variants),),
    )


def feedback(runs: Sequence[Run], *, panel_id: str) -> Panel:
    """Scores over steps and over tokens: one run with its objectives, or runs side by side.

    One run gives one drawing with a line an objective; several give one drawing an objective with
    a line a run.
    """
    objectives = list(dict.fromkeys(name for run in runs for name in run.scores))
    lines: dict[str, list[ScoreLine]] = {}
    for position, run in enumerate(runs):
        for place, name in enumerate(name for name in objectives if name in run.scores):
            if len(runs) == 1:
                lines.setdefault("Feedback", []).append(ScoreLine(name, run, name, place))
            else:
                lines.setdefault(name, []).append(ScoreLine(run.run_id, run, name, position))
    across = (("step", "steps"), ("source", "source tokens"), ("target", "target tokens"))
    up = (("change", "change"), ("score", "score"))
    figures = tuple(
        Figure(
            title=title,
            variants={
                f"{x}{SEPARATOR}{y}": _score_lines(members, x=x, y=y) for x, _ in across for y, _ in up
            },
        )
        for title, members in lines.items()
    )
    return Panel(
        panel_id=panel_id,
        note="Mean log-probability of the answers in nats a token; higher is better. Change is against"
        " the model before any training (step 0).",
        choices=(Choice("x axis", across), Choice("y axis", up)),
        figures=figures,
    )


def target_shares(runs: Sequence[Run], *, panel_id: str) -> Panel:
    """Share of the target field over steps, one line a run."""
    variants = {}
    for quantity in series.QUANTITIES:
        figure = go.Figure()
        for position, run in enumerate(runs):
            mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
            figure.add_scatter(
                x=mixture.steps_T.tolist(),
                y=_rounded(mixture.by_field(run.pairs)[:, FIELDS.index("target")]),
                name=escape(run.run_id, quote=False),
                **_line_style(position, points=len(mixture.steps_T)),
            )
        _finish(figure, x_title="step", y_title="share of samples", y_format=".0%")
        figure.update_yaxes(range=[0, 1.02])
        variants[quantity] = figure
    return Panel(
        panel_id=panel_id,
        note="How much of each step went to the target field.",
        choices=(Choice("Quantity", tuple((quantity, quantity) for quantity in series.QUANTITIES)),),
        figures=(Figure(title="Share of the target field", variants=variants),),
    )


def domain_sizes(dataset: Dataset, *, panel_id: str) -> Panel:
    """Tokens or documents of each domain, source beside target."""
    filled = [s.domain for s in dataset.streams if s.documents or s.tokens]
    domains = sorted(
        dict.fromkeys(filled), key=lambda d: -sum(s.tokens for s in dataset.streams if s.domain == d)
    )
    variants = {}
    for amount in ("tokens", "documents"):
        figure = go.Figure()
        for field in FIELDS:
            held = {s.domain: getattr(s, amount) for s in dataset.streams if s.field == field}
            figure.add_bar(
                x=[held.get(domain, 0) for domain in domains],
                y=[escape(domain.replace("_", " "), quote=False) for domain in domains],
                name=field,
                orientation="h",
                marker={"color": f"var(--{field})", "line": {"width": 0}},
            )
        _finish(figure, x_title=amount, y_title="", y_format=None)
        figure.update_layout(
            barmode="group", bargap=0.25, hovermode="y unified", height=90 + 26 * max(3, len(domains))
        )
        figure.update_xaxes(tickformat="~s", hoverformat=",d")
        figure.update_yaxes(type="category", showgrid=False, autorange="reversed")
        variants[amount] = figure
    return Panel(
        panel_id=panel_id,
        note="",
        choices=(Choice("Amount", (("tokens", "tokens"), ("documents", "documents"))),),
        figures=(Figure(title="Domains by size", variants=variants),),
    )


def _stacked(mixture: Shares, stacked: Sequence[Band]) -> go.Figure:
    """Areas, flat within a step; a bar when there is only one step, which has no width as an area."""
    figure = go.Figure()
    for band in stacked:
        weights_T = mixture.weights_TN[:, list(band.members)].sum(axis=1)
        name = escape(f"{band.field}: {band.name}", quote=False)
        x, y, colour = mixture.steps_T.tolist(), _rounded(weights_T), f"var(--{band.colour})"
        if len(x) == 1:
            figure.add_bar(x=x, y=y, name=name, marker={"color": colour})
        else:
            figure.add_scatter(
                x=x,
                y=y,
                name=name,
                stackgroup="mixture",
                mode="lines",
                fillcolor=colour,
                # a separator in the colour of the page; legends show the colour of the area
                line={"color": "var(--surface)", "width": 0.6, "shape": "hvh"},
            )
    _finish(figure, x_title="step", y_title="share of samples", y_format=".1%")
    figure.update_layout(barmode="stack")
    figure.update_yaxes(range=[0, 1], tickformat=".0%")
    if len(stacked) > 2 * (LARGEST + 1):
        figure.update_layout(hovermode="closest")  # a list of 52 entries would cover the drawing
    return figure


def _score_lines(lines: Sequence[ScoreLine], *, x: str, y: str) -> go.Figure:
    """Scores, or their change from step 0, over steps or the tokens of a field."""
    figure = go.Figure()
    for line in lines:
        so_far = series.tokens_so_far(line.run).get(x)
        final = series.final_scores(line.run).get(line.objective)
        base = 0.0 if y == "score" else final.first if final else None
        if base is None:
            continue
        points = [
            (step if so_far is None else so_far.get(step), step, score - base)
            for step, score in line.run.scores[line.objective]
            if np.isfinite(score)
        ]
        points = [point for point in points if point[0] is not None]
        figure.add_scatter(
            x=[place for place, _, _ in points],
            y=_rounded(score for _, _, score in points),
            customdata=[step for _, step, _ in points],
            hovertemplate="%{y:.4f} (step %{customdata})",
            name=escape(line.name, quote=False),
            **_line_style(line.position, points=len(points)),
        )
    titles = {"step": "step", "source": "source tokens so far", "target": "target tokens so far"}
    _finish(figure, x_title=titles[x], y_title="nats a token", y_format=".4f")
    if x != "step":
        figure.update_xaxes(tickformat="~s", hoverformat=".4~s")
        figure.update_layout(hovermode="closest")  # runs have no token counts in common
    return figure


def _finish(figure: go.Figure, *, x_title: str, y_title: str, y_format: str | None) -> None:
    """What all figures have in common; colours and fonts come from the page's template."""
    figure.update_layout(template="none", showlegend=False, hovermode="x unified")
    figure.layout.template = None
    figure.update_xaxes(title=x_title)
    figure.update_yaxes(title=y_title, hoverformat=y_format)
    if y_format and y_format.endswith("%"):
        figure.update_yaxes(tickformat=".0%")
    if x_title == "step":
        figure.update_xaxes(tickformat=",d", hoverformat=",d", rangemode="tozero")


def _line_style(position: int, *, points: int) -> dict[str, Any]:
    """Colour, dash and marker of the line at `position`: never colour alone."""
    colour = f"var(--line-{position % LINE_COLOURS + 1})"
    dashes = tuple(DASHES.values())
    return {
        "mode": "lines+markers" if points <= 100 else "lines",
        "line": {"color": colour, "width": 2, "dash": dashes[position // LINE_COLOURS % len(dashes)]},
        "marker": {"symbol": SYMBOLS[position % len(SYMBOLS)], "size": 6, "color": colour},
    }


def _thinning_note(width: int) -> str:
    return f" Every point is the mean of {width} neighbouring steps." if width > 1 else ""


def _rounded(values: Iterable[Any]) -> list[float]:
    """Five significant digits: finer than a screen, and half the bytes."""
    return [float(f"{value:.5g}") for value in values]


def to_json(panel: Panel) -> list[dict[str, Any]]:
    """The variants of a panel's figures as plain values for the page's script."""
    return [
        {key: variant.to_plotly_json() for key, variant in figure.variants.items()}
        for figure in panel.figures
    ]
