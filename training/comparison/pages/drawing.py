"""Plain SVG by hand: scales, axes, labels that keep apart. No browser and no library is needed.

Colours are CSS classes with a light and a dark value, so that one file serves both; text is drawn
in the reader's own sans-serif. Lengths are pixels of the drawing's own coordinates.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from dmix.training.report.page.markup import Markup, join, tag

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
FONT_SIZE = 13


@dataclass(frozen=True)
class Scale:
    """Linear map from values to pixels.

    Attributes:
        low: Value at `start`.
        high: Value at `end`.
        start: Pixel of `low`.
        end: Pixel of `high`.
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def around(cls, values: Sequence[float], *, start: float, end: float, margin: float = 0.06) -> "Scale":
        """The scale that holds the finite values with a margin; a single value gets room around it."""
        finite = [value for value in values if math.isfinite(value)] or [0.0]
        low, high = min(finite), max(finite)
        room = (high - low) * margin or abs(low) * 0.1 or 1.0
        return cls(low - room, high + room, start, end)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, wanted: int = 8) -> list[float]:
        """Round values inside the scale, about `wanted` of them."""
        rough = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * power for unit in (1, 2, 5, 10) if unit * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]


def svg(*children: Markup, width: float, height: float, title: str, description: str) -> str:
    """The whole file; `title` and `description` are read out by screen readers."""
    light = "".join(_rule(name, pair[0]) for name, pair in COLOURS.items())
    dark = "".join(_rule(name, pair[1]) for name, pair in COLOURS.items())
    style = (
        f"text{{font:{FONT_SIZE}px system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}}"
        ".head{font-weight:600;font-size:15px}.small{font-size:11px}"
        f"{light}@media(prefers-color-scheme:dark){{{dark}}}"
    )
    body = tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        tag("style", Markup(style)),
        tag("rect", width=_px(width), height=_px(height), rx=6, class_="f-page"),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_px(width)} {_px(height)}",
        role="img",
    )
    return f"{body}\n"


def _rule(name: str, colour: str) -> str:
    return f".f-{name}{{fill:{colour}}}.s-{name}{{stroke:{colour}}}"


def text(
    x: float, y: float, content: str, *, colour: str = "text", anchor: str = "start", kind: str = ""
) -> Markup:
    """A line of text whose middle height is `y`; `kind` is `head`, `small` or nothing."""
    return tag(
        "text",
        content,
        x=_px(x),
        y=_px(y),
        text_anchor=None if anchor == "start" else anchor,
        dominant_baseline="central",
        class_=f"f-{colour} {kind}".strip(),
    )


def line(
    x1: float, y1: float, x2: float, y2: float, *, colour: str, width: float = 1, dash: str = ""
) -> Markup:
    """A straight line."""
    return tag(
        "line",
        x1=_px(x1),
        y1=_px(y1),
        x2=_px(x2),
        y2=_px(y2),
        stroke_width=f"{width:g}",
        stroke_dasharray=dash or None,
        class_=f"s-{colour}",
    )


def path(points: Sequence[tuple[float, float]], *, colour: str, width: float = 2, dash: str = "") -> Markup:
    """Connected points."""
    drawn = "M" + "L".join(f"{_px(x)} {_px(y)}" for x, y in points)
    return tag(
        "path",
        d=drawn,
        fill="none",
        stroke_width=f"{width:g}",
        stroke_dasharray=dash or None,
        stroke_linejoin="round",
        class_=f"s-{colour}",
    )


def dot(
    x: float, y: float, *, colour: str, radius: float = 4.5, hollow: bool = False, note: str = ""
) -> Markup:
    """A point; a hollow one is filled with the page, `note` shows under the pointer."""
    return tag(
        "circle",
        tag("title", note) if note else None,
        cx=_px(x),
        cy=_px(y),
        r=f"{radius:g}",
        stroke_width="2" if hollow else None,
        class_=f"f-page s-{colour}" if hollow else f"f-{colour}",
    )


def moved(content: Markup, *, y: float) -> Markup:
    """Elements further down."""
    return tag("g", content, transform=f"translate(0 {_px(y)})")


def whisker(
    x: float, y: float, *, low: float, high: float, colour: str, hollow: bool = False, note: str
) -> Markup:
    """A point with its interval along x; an unknown interval is left out."""
    bar = None
    if math.isfinite(low) and math.isfinite(high):
        bar = line(low, y, high, y, colour=colour, width=2)
    return join([bar, dot(x, y, colour=colour, hollow=hollow, note=note)])


def x_axis(scale: Scale, *, top: float, bottom: float, title: str, form: str = "g") -> Markup:
    """Grid lines from `top` to `bottom`, their values and the axis' title below."""
    drawn = []
    for value in scale.ticks():
        x = scale(value)
        drawn.append(line(x, top, x, bottom, colour="grid"))
        drawn.append(text(x, bottom + 13, tick(value, form), colour="muted", anchor="middle", kind="small"))
    middle = (scale.start + scale.end) / 2
    drawn.append(text(middle, bottom + 31, title, colour="muted", anchor="middle", kind="small"))
    return join(drawn)


def y_axis(scale: Scale, *, left: float, right: float, title: str, form: str = "g") -> Markup:
    """Grid lines from `left` to `right`, their values, and the axis' title above."""
    drawn = []
    for value in scale.ticks():
        y = scale(value)
        drawn.append(line(left, y, right, y, colour="grid"))
        drawn.append(text(left - 7, y, tick(value, form), colour="muted", anchor="end", kind="small"))
    drawn.append(text(left, min(scale.start, scale.end) - 14, title, colour="muted", kind="small"))
    return join(drawn)


def tick(value: float, form: str = "g") -> str:
    """A value of an axis: `g` plain, `tokens` with a unit; a true minus sign."""
    if form == "tokens":
        for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:g}{unit}"
    return f"{round(value, 10):g}".replace("-", "−")


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
        for place, index in enumerate(block):
            found[index] = start + gap * place
    return found


def _start(block: Sequence[int], places: Sequence[float], *, gap: float, low: float, high: float) -> float:
    length = gap * (len(block) - 1)
    wanted = sum(places[index] for index in block) / len(block) - length / 2
    return min(max(wanted, low), high - length)


def _px(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
