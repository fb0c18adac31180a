"""The figure of one setting: controllers with their intervals, headroom, Pareto front, steps.

One SVG file with up to four panels below each other; a panel appears with its data. The agent, its
rival and natural mixing keep their colours from panel to panel; all others are grey and named.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import EngFormatter, MaxNLocator

from dmix.training.comparison.analysis.evidence import Evidence
from dmix.training.comparison.analysis.selection import NATURAL, Headroom
from dmix.training.comparison.analysis.steps import mean_steps
from dmix.training.comparison.analysis.tables import Row
from dmix.training.comparison.analysis.verdict import Hypothesis
from dmix.training.comparison.pages.drawing import (
    LIGHT,
    Panel,
    dots,
    labels_right,
    limits,
    short,
    svg,
    whisker,
)
from dmix.warehouse_schema.sizes import num_text

# pixels: left of panels with a line per name, and beside panels with names on the right
NAMES, LEFT, RIGHT = 170, 80, 170
ROW, DOUBLE_ROW, HEADROOM_ROW, TALL = 24, 30, 58, 235
LABEL_GAP = 15


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
    judged = [row for row in rows[stage] if row.judged] if stage else []
    panels = []
    if stage:
        panels += [
            controllers_panel(judged, stage=stage, colours=colours),
            pareto_panel(judged, colours=colours),
        ]
        steps = mean_steps(evidence, stage)
        if steps:
            panels.append(steps_panel(steps, colours=colours))
    if study:
        panels.append(headroom_panel(study))
    if not panels:
        panels.append(Panel("No run has been scored yet.", 1, LEFT, RIGHT, Axes.set_axis_off))
    names = ", ".join(row.controller for row in judged)
    return svg(
        panels,
        heading=evidence.name,
        title=f"Comparison in the setting {evidence.name}",
        description=f"Controllers from the highest utility to the lowest: {names}." if names else "",
    )


def shown_stage(rows: Mapping[str, Sequence[Row]]) -> str | None:
    """The last stage with scores."""
    for stage in ("confirmation", "screening"):
        if any(row.judged for row in rows.get(stage, ())):
            return stage
    return None


def controllers_panel(rows: Sequence[Row], *, stage: str, colours: Mapping[str, str]) -> Panel:
    """Utility with its 95% interval, a line per controller; the other layer hollow below it."""
    double = any(row.confirmation and row.development for row in rows)

    def draw(axes: Axes) -> None:
        estimates = [e for row in rows for e in (row.development, row.confirmation) if e]
        axes.set_xlim(limits([*(v for e in estimates for v in (e.value, e.low, e.high)), 0.0]))
        axes.axvline(0, color=LIGHT["muted"], linewidth=1)
        for y, row in enumerate(rows):
            both = [(row.judged, False, float(y))]
            if row.confirmation and row.development:
                both = [(row.confirmation, False, y - 0.14), (row.development, True, y + 0.18)]
            for estimate, hollow, height in both:
                if estimate:
                    whisker(
                        axes,
                        height,
                        value=estimate.value,
                        low=estimate.low,
                        high=estimate.high,
                        colour=colours.get(row.controller, "other"),
                        hollow=hollow,
                    )
        hint = " (hollow: development items)" if double else ""
        axes.set_xlabel(f"utility over the base model{hint}")
        _name_rows(axes, [short(row.controller) for row in rows])

    layer = "confirmation" if stage == "confirmation" else "development"
    title = f"Utility at the end of a run, {stage} stage, {layer} items, 95% interval"
    return Panel(title, (DOUBLE_ROW if double else ROW) * len(rows), NAMES, 20, draw)


def pareto_panel(rows: Sequence[Row], *, colours: Mapping[str, str]) -> Panel:
    """Source tokens against utility; the line joins the controllers that none beats on both."""

    def draw(axes: Axes) -> None:
        points = {
            row.controller: (row.source_tokens, row.judged.value)
            for row in rows
            if row.judged and np.isfinite(row.source_tokens)
        }
        axes.set_xlim(limits([x for x, _ in points.values()]))
        axes.set_ylim(limits([y for _, y in points.values()], margin=0.1))
        best = {row.controller for row in rows if row.on_front}
        front = sorted(point for name, point in points.items() if name in best)
        if len(front) > 1:
            axes.plot(*zip(*front, strict=True), "--", color=LIGHT["muted"], linewidth=1.5)
        for name, (x, y) in points.items():
            dots(axes, [x], [y], colour=colours.get(name, "other"), hollow=name not in best)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("source tokens of a run")
        axes.set_ylabel("utility")
        labels_right(axes, points, colours=colours, gap=LABEL_GAP, height=TALL)

    title = "Source tokens and utility: filled dots are on the Pareto front"
    return Panel(title, TALL, LEFT, RIGHT, draw)


def steps_panel(
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]], *, colours: Mapping[str, str]
) -> Panel:
    """Utility on feedback items over the steps of the runs, a line per controller."""

    def draw(axes: Axes) -> None:
        axes.set_xlim(limits([s for steps, _ in lines.values() for s in steps], margin=0.02))
        axes.set_ylim(limits([u for _, values in lines.values() for u in values]))
        # the coloured lines are drawn last, above the grey ones
        names = sorted(lines, key=lambda name: (name in colours, name))
        for name in names:
            width = 2.5 if name in colours else 1.2
            axes.plot(*lines[name], color=LIGHT[colours.get(name, "other")], linewidth=width)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel("utility")
        ends = {name: (lines[name][0][-1], lines[name][1][-1]) for name in names}
        labels_right(axes, ends, colours=colours, gap=LABEL_GAP, height=TALL)

    return Panel("Utility on feedback items over steps, mean of the runs", TALL, LEFT, RIGHT, draw)


def headroom_panel(study: Headroom) -> Panel:
    """A dot per mixture in a row per kind; the best one again with the interval of its fresh seeds."""

    def draw(axes: Axes) -> None:
        values = [value for best in study.best for _, value in best.found] + study.natural_S.tolist()
        for best in study.best:
            values += [best.fresh.value, best.fresh.low, best.fresh.high] if best.fresh else []
        axes.set_xlim(limits(values))
        names = []
        for y, best in enumerate(study.best):
            for name, value in reversed(best.found):
                dots(axes, [value], [y - 0.1], colour="rival" if name == best.name else "other", hollow=True)
            names.append(f"{best.kind.replace('_', '-')} ({len(best.found)})")
            if best.fresh:
                fresh = best.fresh
                whisker(axes, y + 0.25, value=fresh.value, low=fresh.low, high=fresh.high, colour="rival")
                names[-1] += "\nbest, fresh seeds"
        naturals = study.natural_S.tolist()
        dots(axes, naturals, [len(names)] * len(naturals), colour="natural", hollow=True)
        axes.set_xlabel("utility over the base model")
        _name_rows(axes, [*names, f"natural ({num_text(len(naturals), 'run')})"])

    title = "Headroom: every mixture of the first pass, the best one on fresh seeds"
    return Panel(title, HEADROOM_ROW * (len(study.best) + 1), NAMES, 20, draw)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top, each with its name beside it."""
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), names, color=LIGHT["text"], size=12)
    axes.grid(visible=False, axis="y")


def _colours(pair: Hypothesis | None) -> dict[str, str]:
    found = {NATURAL: "natural"}
    if pair:
        found |= {pair.rival: "rival", pair.agent: "agent"}
    return found
