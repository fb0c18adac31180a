"""Panels below each other as one SVG file that matplotlib draws: light and dark, the same bytes every time.

Colours are CSS variables with a light and a dark value, so that one file serves both; text stays text.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# light, dark; the palette of the report's lines
COLOURS = {
    "page": ("#ffffff", "#1a2028"),
    "text": ("#1b2430", "#e6ebf1"),
    "muted": ("#5a6675", "#9eabba"),
    "grid": ("#dfe4ea", "#313b47"),
    "agent": ("#c24e00", "#ff9550"),
    "rival": ("#0062a3", "#5cb0f5"),
    "natural": ("#007d5c", "#3ecfa1"),
    "other": ("#7d8896", "#8a97a6"),
}
LIGHT = {name: light for name, (light, _) in COLOURS.items()}
WIDTH = 820
# around the axes of a panel: its title above, values and the axis' title below
_ABOVE, _BELOW = 40, 44
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "dmix",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": LIGHT["text"],
    "axes.edgecolor": LIGHT["grid"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": LIGHT["muted"],
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 14,
    "axes.titleweight": "bold",
    "font.sans-serif": ["DejaVu Sans", "Segoe UI", "Roboto", "Arial"],
    "font.size": 12,
    "grid.color": LIGHT["grid"],
    "xtick.color": LIGHT["muted"],
    "xtick.labelsize": 11,
    "ytick.color": LIGHT["muted"],
    "ytick.labelsize": 11,
}


@dataclass(frozen=True)
class Panel:
    """A part of the figure.

    Attributes:
        title: What it shows.
        height: Pixels of its axes.
        left: Pixels left of its axes.
        right: Pixels right of its axes.
        draw: Draws into the axes.
    """

    title: str
    height: float
    left: float
    right: float
    draw: Callable[[Axes], None]


def svg(panels: Sequence[Panel], *, heading: str, title: str, description: str) -> str:
    """The whole file; `title` and `description` are read out by screen readers."""
    height = 30 + sum(panel.height + _ABOVE + _BELOW for panel in panels)
    with mpl.rc_context(_STYLE):
        # 72 dots an inch, so that a unit of the file is a pixel and a point
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor=LIGHT["page"])
        figure.text(12 / WIDTH, 1 - 20 / height, heading, size=16, weight="bold", va="center")
        top = height - 30.0
        for panel in panels:
            top -= _ABOVE + panel.height
            width = WIDTH - panel.left - panel.right
            axes = figure.add_axes(
                (panel.left / WIDTH, top / height, width / WIDTH, panel.height / height),
            )
            axes.set_title(panel.title, x=(12 - panel.left) / width, pad=10)
            axes.tick_params(length=0)
            panel.draw(axes)
            top -= _BELOW
        written = io.StringIO()
        metadata = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", metadata=metadata)
    return _themed(written.getvalue(), title=title, description=description)


def _themed(content: str, *, title: str, description: str) -> str:
    """Colours by name, with a value for light and one for dark; words for screen readers."""
    for name, colour in LIGHT.items():
        content = content.replace(f": {colour}", f": var(--{name})")
    light, dark = ("".join(f"--{name}:{pair[mode]};" for name, pair in COLOURS.items()) for mode in (0, 1))
    style = f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}"
    said = f"<title>{escape(title)}</title><desc>{escape(description)}</desc><style>{style}</style>"
    return re.sub(
        r'<svg ([^>]*?)width="[^"]*" height="[^"]*"([^>]*)>',
        rf'<svg role="img" \1\2>\n{said}',
        content,
        count=1,
    )


def limits(values: Sequence[float], *, margin: float = 0.06) -> tuple[float, float]:
    """Limits of an axis that hold the finite values with a margin; a single value gets room around it."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    room = (high - low) * margin or abs(low) * 0.1 or 1.0
    return low - room, high + room


def whisker(
    axes: Axes, y: float, *, value: float, low: float, high: float, colour: str, hollow: bool = False
) -> None:
    """A point with its interval along x; an unknown interval is left out."""
    if math.isfinite(low) and math.isfinite(high):
        axes.hlines(y, low, high, colors=LIGHT[colour], linewidth=2)
    dots(axes, [value], [y], colour=colour, hollow=hollow)


def dots(axes: Axes, x: Sequence[float], y: Sequence[float], *, colour: str, hollow: bool = False) -> None:
    """Points; hollow ones are filled with the page."""
    face = LIGHT["page"] if hollow else LIGHT[colour]
    axes.plot(x, y, "o", color=LIGHT[colour], markerfacecolor=face, markeredgewidth=1.6, markersize=8)


def labels_right(
    axes: Axes,
    ends: Mapping[str, tuple[float, float]],
    *,
    colours: Mapping[str, str],
    gap: float,
    height: float,
) -> None:
    """Names beside the axes, as high as their points and apart from each other, each tied to its point.

    Args:
        axes: With its limits set.
        ends: Point of each name.
        colours: Names of colours; the others are muted.
        gap: Pixels between two names.
        height: Pixels of the axes.
    """
    low, high = axes.get_ylim()
    wanted = [height * (y - low) / (high - low) for _, y in ends.values()]
    for (name, point), place in zip(
        ends.items(), spread(wanted, gap=gap, low=-6, high=height + 6), strict=True
    ):
        axes.annotate(
            short(name),
            xy=point,
            xytext=(1.03, place / height),
            textcoords="axes fraction",
            va="center",
            color=LIGHT[colours.get(name, "muted")],
            arrowprops={"arrowstyle": "-", "color": LIGHT["muted"], "linewidth": 0.6, "linestyle": ":"},
        )


def short(name: str, *, limit: int = 20) -> str:
    """A name that fits beside a panel."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def spread(places: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Places of labels that are at least `gap` apart, moved as little as the order allows.

    Too many labels for the room are set closer than `gap`, at equal distances.
    """
    if not places:
        return []
    gap = min(gap, (high - low) / max(1, len(places) - 1))
    order = sorted(range(len(places)), key=lambda index: places[index])
    # blocks of labels that touch: each block is centred on the mean of what its labels want
    blocks: list[list[int]] = []
    starts: list[float] = []
    for index in order:
        block = [index]
        start = _start(block, places, gap=gap, low=low, high=high)
        while blocks and starts[-1] + gap * len(blocks[-1]) > start:
            block = blocks.pop() + block
            starts.pop()
            start = _start(block, places, gap=gap, low=low, high=high)
        blocks.append(block)
        starts.append(start)
    found = [0.0] * len(places)
    for block, start in zip(blocks, starts, strict=True):
        for position, index in enumerate(block):
            found[index] = start + gap * position
    return found


def _start(block: Sequence[int], places: Sequence[float], *, gap: float, low: float, high: float) -> float:
    length = gap * (len(block) - 1)
    wanted = sum(places[index] for index in block) / len(block) - length / 2
    return min(max(wanted, low), high - length)
