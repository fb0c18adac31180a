"""The figure of one setting: controllers with their intervals, headroom, Pareto front, steps.

One SVG file with up to four panels below each other; a panel appears with its data. The agent, its
rival and natural mixing keep their colours from panel to panel; all others are grey and named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.selection import NATURAL, Headroom
from dmix.training.comparison.analysis.steps import mean_steps
from dmix.training.comparison.analysis.tables import Row, interval, number
from dmix.training.comparison.analysis.verdict import Hypothesis
from dmix.training.comparison.pages import drawing
from dmix.training.comparison.pages.drawing import Scale
from dmix.training.report.page.markup import Markup, join

WIDTH = 820
LEFT, RIGHT = 170, 800
ROW, DOUBLE_ROW = 24, 30
LABEL_GAP = 15


@dataclass(frozen=True)
class Drawn:
    """A panel at its own origin.

    Attributes:
        content: Its elements.
        height: Pixels that it takes.
    """

    content: Markup
    height: float


def setting_figure(
    evidence: Evidence,
    *,
    rows: Mapping[str, Sequence[Row]],
    study: Headroom | None,
    pair: Hypothesis | None,
) -> str:
    """The SVG file of a setting.

    Args:
        evidence: The setting.
        rows: Rows of its tables by stage; the confirmation is drawn where it has scores, or else the
            screening.
        study: Its headroom study.
        pair: Agent and rival, which are coloured.
    """
    colours = _colours(pair)
    stage = shown_stage(rows)
    panels = []
    if stage:
        shown = [row for row in rows[stage] if row.judged]
        panels.append(controllers_panel(shown, stage=stage, colours=colours))
        panels.append(pareto_panel(shown, colours=colours))
        steps = mean_steps(evidence, stage)
        if steps:
            panels.append(steps_panel(steps, colours=colours))
    if study:
        panels.append(headroom_panel(study))
    if not panels:
        panels.append(Drawn(drawing.text(20, 20, "No run has been scored yet.", colour="muted"), 40))
    pieces, y = [drawing.text(20, 26, evidence.name, kind="head")], 48.0
    for panel in panels:
        pieces.append(drawing.moved(panel.content, y=y))
        y += panel.height
    names = [row.controller for row in rows[stage] if row.judged] if stage else []
    described = f"Controllers from the highest utility to the lowest: {', '.join(names)}." if names else ""
    return drawing.svg(
        *pieces,
        width=WIDTH,
        height=y,
        title=f"Comparison in the setting {evidence.name}",
        description=described,
    )


def shown_stage(rows: Mapping[str, Sequence[Row]]) -> str | None:
    """The last stage with scores."""
    for stage in ("confirmation", "screening"):
        if any(row.judged for row in rows.get(stage, ())):
            return stage
    return None


def controllers_panel(rows: Sequence[Row], *, stage: str, colours: Mapping[str, str]) -> Drawn:
    """Utility with its 95% interval, a line a controller; the other layer hollow below it."""
    estimates = [e for row in rows for e in (row.development, row.confirmation) if e]
    values = [v for e in estimates for v in (e.value, e.low, e.high)]
    scale = Scale.around([*values, 0.0], start=LEFT, end=RIGHT)
    double = any(row.confirmation and row.development for row in rows)
    pitch = DOUBLE_ROW if double else ROW
    top = 34.0
    bottom = top + pitch * len(rows)
    layer = "confirmation" if stage == "confirmation" else "development"
    title = f"Utility at the end of a run, {stage} stage, {layer} items, 95% interval"
    pieces = [
        drawing.text(20, 8, title, kind="head"),
        drawing.x_axis(scale, top=top - 6, bottom=bottom, title="utility over the base model"),
        drawing.line(scale(0), top - 6, scale(0), bottom, colour="muted"),
    ]
    for place, row in enumerate(rows):
        y = top + pitch * (place + 0.5)
        colour = colours.get(row.controller, "other")
        pieces.append(drawing.text(LEFT - 12, y, short(row.controller), anchor="end"))
        both = [(row.judged, False, y)]
        if row.confirmation and row.development:
            both = [(row.confirmation, False, y - 4), (row.development, True, y + 5)]
        for estimate, hollow, height in both:
            if estimate:
                note = f"{row.controller}: {interval(estimate)}, {estimate.seeds} runs"
                low, high = (scale(end) if np.isfinite(end) else end for end in (estimate.low, estimate.high))
                pieces.append(
                    drawing.whisker(
                        scale(estimate.value),
                        height,
                        low=low,
                        high=high,
                        colour=colour,
                        hollow=hollow,
                        note=note,
                    )
                )
    if double:
        pieces.append(
            drawing.text(LEFT, bottom + 31, "hollow: development items", colour="muted", kind="small")
        )
    return Drawn(join(pieces), bottom + 62)


def pareto_panel(rows: Sequence[Row], *, colours: Mapping[str, str]) -> Drawn:
    """Source tokens against utility; the line joins the controllers that none beats on both."""
    known = [row for row in rows if row.judged and np.isfinite(row.source_tokens)]
    utilities = [row.judged.value for row in known if row.judged]
    across = Scale.around([row.source_tokens for row in known], start=80, end=RIGHT - 150)
    up = Scale.around(utilities, start=290, end=58, margin=0.1)
    places = [(across(row.source_tokens), up(value)) for row, value in zip(known, utilities, strict=True)]
    front = sorted(place for row, place in zip(known, places, strict=True) if row.on_front)
    pieces = [
        drawing.text(20, 8, "Source tokens and utility: filled dots are on the Pareto front", kind="head"),
        drawing.y_axis(up, left=80, right=RIGHT - 150, title="utility"),
        drawing.x_axis(across, top=58, bottom=290, title="source tokens of a run", form="tokens"),
    ]
    if len(front) > 1:
        pieces.append(drawing.path(front, colour="muted", width=1.5, dash="4 3"))
    labels = drawing.spread([y for _, y in places], gap=LABEL_GAP, low=52, high=296)
    for row, (x, y), height in zip(known, places, labels, strict=True):
        colour = colours.get(row.controller, "other")
        note = f"{row.controller}: {row.source_tokens:,.0f} source tokens, {interval(row.judged)}"
        pieces.append(drawing.line(x, y, RIGHT - 140, height, colour="muted", width=0.7, dash="1 4"))
        pieces.append(drawing.dot(x, y, colour=colour, hollow=not row.on_front, note=note))
        pieces.append(_label(RIGHT - 136, height, row.controller, colour=colour))
    return Drawn(join(pieces), 350)


def steps_panel(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, colours: Mapping[str, str]
) -> Drawn:
    """Utility on feedback items over the steps of the runs, a line a controller."""
    across = Scale.around(
        [s for steps, _ in lines.values() for s in steps], start=80, end=RIGHT - 150, margin=0.02
    )
    up = Scale.around([u for _, values in lines.values() for u in values], start=290, end=58)
    pieces = [
        drawing.text(20, 8, "Utility on feedback items over steps, mean of the runs", kind="head"),
        drawing.y_axis(up, left=80, right=RIGHT - 150, title="utility"),
        drawing.x_axis(across, top=58, bottom=290, title="step"),
    ]
    # the coloured lines are drawn last, above the grey ones
    names = sorted(lines, key=lambda name: (name in colours, name))
    ends = [up(lines[name][1][-1]) for name in names]
    for name, end, height in zip(
        names, ends, drawing.spread(ends, gap=LABEL_GAP, low=52, high=296), strict=True
    ):
        colour = colours.get(name, "other")
        steps, values = lines[name]
        points = [(across(step), up(value)) for step, value in zip(steps, values, strict=True)]
        pieces.append(drawing.path(points, colour=colour, width=2.5 if name in colours else 1.2))
        pieces.append(drawing.line(points[-1][0], end, RIGHT - 140, height, colour="grid"))
        pieces.append(_label(RIGHT - 136, height, name, colour=colour))
    return Drawn(join(pieces), 350)


def headroom_panel(study: Headroom) -> Drawn:
    """A dot a mixture in a row a kind; the best one again with the interval of its fresh seeds."""
    values = [value for best in study.best for _, value in best.found] + study.natural_S.tolist()
    for best in study.best:
        values += [best.fresh.value, best.fresh.low, best.fresh.high] if best.fresh else []
    scale = Scale.around(values, start=LEFT, end=RIGHT)
    strip = 58
    rows = len(study.best) + 1
    top, bottom = 34.0, 34.0 + strip * rows
    pieces = [
        drawing.text(
            20, 8, "Headroom: every mixture of the first pass, the best one on fresh seeds", kind="head"
        ),
        drawing.x_axis(scale, top=top - 6, bottom=bottom, title="utility over the base model"),
    ]
    for place, best in enumerate(study.best):
        y = top + strip * place + 18
        label = f"{best.kind.replace('_', '-')} ({len(best.found)})"
        pieces.append(drawing.text(LEFT - 12, y, label, anchor="end"))
        for name, value in reversed(best.found):
            colour = "rival" if name == best.name else "other"
            note = f"{name}: {number(value)} in the first pass"
            pieces.append(drawing.dot(scale(value), y, colour=colour, radius=4, hollow=True, note=note))
        if best.fresh:
            note = f"{best.name} on {best.fresh.seeds} fresh seeds: {interval(best.fresh)}"
            low, high = (scale(end) if np.isfinite(end) else end for end in (best.fresh.low, best.fresh.high))
            pieces.append(
                drawing.whisker(
                    scale(best.fresh.value), y + 17, low=low, high=high, colour="rival", note=note
                )
            )
            pieces.append(
                drawing.text(
                    LEFT - 12, y + 17, "best, fresh seeds", anchor="end", colour="muted", kind="small"
                )
            )
    y = top + strip * (rows - 1) + 18
    pieces.append(drawing.text(LEFT - 12, y, f"natural ({len(study.natural_S)} runs)", anchor="end"))
    for value in study.natural_S:
        note = f"natural: {number(value)}"
        pieces.append(drawing.dot(scale(value), y, colour="natural", radius=4, hollow=True, note=note))
    return Drawn(join(pieces), bottom + 56)


def short(name: str, *, limit: int = 20) -> str:
    """A name that fits beside a panel."""
    return name if len(name) <= limit else f"{name[: limit - 1]}…"


def _label(x: float, y: float, name: str, *, colour: str) -> Markup:
    return drawing.text(x, y, short(name), colour="muted" if colour == "other" else colour)


def _colours(pair: Hypothesis | None) -> dict[str, str]:
    found = {NATURAL: "natural"}
    if pair:
        found |= {pair.rival: "rival", pair.agent: "agent"}
    return found
