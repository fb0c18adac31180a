"""Panels of drawings: what all figures of the report have in common.

A panel is one or several figures with the choices that a reader has; every combination of
choices is a variant, drawn in Python and switched in the browser. Colours are CSS variables,
legends are made by `assets/report.js` from the traces, since plotly's own one takes the room of
the plot on a phone. A drawing is what plotly's script reads, as plain values: its Python classes
check every number and took most of the time of a report. A test lets the script check them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows of a figure over steps: more than a screen can show would only make the page heavy.
MAX_STEPS = 400
# Joins the choices in the key of a variant; it occurs in none of them.
SEPARATOR = "|"
LINE_COLOURS = 8
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "cross")
DASHES = ("solid", "dot", "dashdot")
# Room for axis and margins of a drawing with one row per domain, and height of a row, in pixels.
ROWS_MARGIN, ROW_HEIGHT = 90, 17


@dataclass(frozen=True)
class Choice:
    """A control above a panel.

    Attributes:
        label: What is chosen, for screen readers and as a caption.
        options: (value in the variant's key, text on the button); the first one is shown at first.
    """

    label: str
    options: tuple[tuple[str, str], ...]


class Drawing:
    """A figure of plotly's script: traces and layout, by the names of its reference.

    Every method returns the drawing itself.
    """

    def __init__(self) -> None:
        self.traces: list[dict[str, Any]] = []
        self._layout: dict[str, Any] = {"showlegend": False, "xaxis": {}, "yaxis": {}}

    def trace(self, kind: str, **values: Any) -> "Drawing":
        """Adds a trace of this type; what is None is left to the page."""
        given = {name: value for name, value in values.items() if value is not None}
        self.traces.append({"type": kind, **given})
        return self

    def layout(self, **values: Any) -> "Drawing":
        """Sets entries of the layout."""
        self._layout |= values
        return self

    def x_axis(self, **values: Any) -> "Drawing":
        """Sets entries of the horizontal axis."""
        self._layout["xaxis"] |= values
        return self

    def y_axis(self, **values: Any) -> "Drawing":
        """Sets entries of the vertical axis."""
        self._layout["yaxis"] |= values
        return self

    @property
    def height(self) -> int | None:
        """Pixels that it needs; None for the page's usual height."""
        return self._layout.get("height")

    def to_json(self) -> dict[str, Any]:
        """What plotly's script reads."""
        return {"data": self.traces, "layout": self._layout}


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One drawing in all its variants.

    Attributes:
        title: Text above it.
        variants: Drawings by the chosen values, joined by `SEPARATOR` in the order of the
            panel's choices; "" without choices.
    """

    title: str
    variants: Mapping[str, Drawing]

    @property
    def height(self) -> int | None:
        """Pixels that the first variant needs; None for the page's usual height."""
        return next(iter(self.variants.values())).height


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Figures that share their controls.

    Attributes:
        panel_id: Unique in the page.
        note: What to look at, one or two sentences.
        lead: What the figures show of this run, a sentence above them.
    """

    panel_id: str
    note: str
    figures: tuple[Figure, ...]
    choices: tuple[Choice, ...] = ()
    lead: str = ""


def drawing(*, x_title: str, y_title: str, y_format: str | None) -> Drawing:
    """An empty drawing with what all of them have in common; colours and fonts come from the page.

    Args:
        x_title: What runs to the right; "step" gets whole numbers from 0 on.
        y_title: What runs up.
        y_format: Of its values on hovering, in d3's notation; percentages are ticks of percent too.
    """
    made = Drawing().layout(hovermode="x unified")
    made.x_axis(title={"text": x_title}).y_axis(title={"text": y_title})
    if y_format is not None:
        made.y_axis(hoverformat=y_format)
    if y_format and y_format.endswith("%"):
        made.y_axis(tickformat=".0%")
    if x_title == "step":
        made.x_axis(tickformat=",~r", hoverformat=",d", rangemode="tozero")
    return made


def add_line(
    figure: Drawing,
    x: Iterable[Any],
    y: Iterable[Any],
    *,
    name: str,
    colour: str,
    dots: bool,
    size: int = 5,
    dash: str | None = None,
) -> None:
    """Draws a line; `dots` says whether its points are marked, with dots of that size."""
    line = {"color": colour, "width": 2} | ({} if dash is None else {"dash": dash})
    figure.trace(
        "scatter",
        x=list(x),
        y=rounded(y),
        name=plain_text(name),
        mode="lines+markers" if dots else "lines",
        line=line,
        marker={"color": colour, "size": size},
    )


def line_style(slot: int, *, points: int, member: int = 0) -> dict[str, Any]:
    """Colour, dash and marker of the line at `slot`: never colour alone.

    Args:
        slot: In the palette.
        points: Of the line; one with many has no markers.
        member: Among lines that belong together: they share a colour and differ in dash and marker.
    """
    colour = f"var(--line-{slot % LINE_COLOURS + 1})"
    turn = member + slot // LINE_COLOURS
    return {
        "mode": "lines+markers" if points <= 100 else "lines",
        "line": {"color": colour, "width": 2, "dash": DASHES[turn % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[(slot + member) % len(SYMBOLS)], "size": 6, "color": colour},
    }


def heat_map(
    z_RC: NDArray[Any],
    *,
    x: Sequence[Any],
    rows: Sequence[str],
    colour: str,
    z_title: str,
    z_format: str,
    spread: bool = True,
    from_zero: bool = True,
) -> Drawing:
    """One cell a value, the first row on top.

    Args:
        z_RC: Values by row and column; NaN leaves a cell empty.
        x: Columns.
        rows: Names of the rows.
        colour: CSS variable without its `-heat-0` to `-heat-3`, the colours from weak to strong.
        z_title: What the values are.
        z_format: Of the values in d3's notation.
        spread: Show small values in stronger colours than in proportion: the colour follows the
            square root.
        from_zero: The weakest colour stands for 0 and not for the least value.
    """
    stops = (0.0, 0.0625, 0.25, 1.0) if spread else (0.0, 0.33, 0.67, 1.0)
    scale = [[stop, f"var({colour}-heat-{slot})"] for slot, stop in enumerate(stops)]
    ticks = {"%": "~%", "d": ",~r"}.get(z_format[-1], z_format)
    made = drawing(x_title="step", y_title="", y_format=None).trace(
        "heatmap",
        z=[rounded(row, digits=4) for row in z_RC],
        x=list(x),
        y=[plain_text(row) for row in rows],
        colorbar={"thickness": 10, "outlinewidth": 0, "tickformat": ticks, "len": 1.0, "xpad": 6},
        hovertemplate=f"%{{y}}, step %{{x}}: %{{z:{z_format}}}<extra></extra>",
        hoverongaps=False,
        colorscale=scale,
        name=z_title,
        ygap=1,
    )
    if from_zero:
        made.traces[0] |= {"zmin": 0, "zmax": largest(z_RC)}
    made.layout(hovermode="closest", height=ROWS_MARGIN + ROW_HEIGHT * max(3, len(rows)))
    made.y_axis(type="category", autorange="reversed", showgrid=False)
    return made.x_axis(showgrid=False, rangemode="normal")


def largest(values: NDArray[Any]) -> float:
    """The largest number among values, 1 where there is none above 0: the end of a scale of colours."""
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 0.0
    return most if most > 0 else 1.0


def domain_text(domain: str) -> str:
    """A label as people write it, safe in a figure."""
    return plain_text(domain.replace("_", " "))


def plain_text(text: str) -> str:
    """Text for plotly, which reads a little HTML."""
    return escape(text, quote=False)


def thinning_note(width: int) -> str:
    """Addition to a note if a point shows several steps."""
    return f" Each point is the mean of {width} neighbouring steps." if width > 1 else ""


def rounded(values: Iterable[Any], *, digits: int = 5) -> list[float | None]:
    """Significant digits finer than a screen, and half the bytes; None for NaN."""
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values]


def to_json(panel: Panel) -> list[dict[str, Any]]:
    """The variants of a panel's figures as plain values for the page's script."""
    return [{key: variant.to_json() for key, variant in figure.variants.items()} for figure in panel.figures]
