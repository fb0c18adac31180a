"""Figures of a farm: its trajectories, what they cover, and what moved each objective."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dmix.mixing.trajectories.coverage import SHARE_EDGES, coverage
from dmix.training.report.figures.charts import (
    MAX_STEPS,
    ROWS_MARGIN,
    SEPARATOR,
    Choice,
    Drawing,
    Figure,
    Panel,
    domain_text,
    drawing,
    heat_map,
    largest,
    line_style,
    plain_text,
    rounded,
)
from dmix.training.report.queries.farm_facts import TAIL, Contrast, FarmFacts, Path
from dmix.training.report.queries.reader import Pair
from dmix.warehouse_schema.taxonomy import FIELDS

# Trajectories of a group that are drawn; more would be one grey field.
MAX_PATHS = 40
# Domains of a contrast that are drawn at first.
MOST_MOVED = 14
_LESSON_ROW_HEIGHT = 24


def trajectories(farm: FarmFacts, *, panel_id: str) -> Panel:
    """Target share along trajectories, a colour a group of them."""
    figure = drawing(x_title="step", y_title="target share", y_format=".0%")
    groups: dict[str, list[Path]] = {}
    for path in farm.paths:
        groups.setdefault(group_name(path), []).append(path)
    for slot, (name, members) in enumerate(groups.items()):
        colour = line_style(slot, points=1)["line"]["color"]
        shown = members[:: -(-len(members) // MAX_PATHS)]
        x, y = [], []
        for path in shown:  # one trace per group: None ends a line
            x += [*range(len(path.target_T)), None]
            y += [*rounded(path.target_T, digits=3), None]
        figure.trace(
            "scatter",
            x=x,
            y=y,
            name=f"{plain_text(name)} ({len(members):,})",
            mode="lines",
            opacity=0.6,
            line={"color": colour, "width": 1},
            hoverinfo="skip",
        )
    figure.layout(hovermode=False)
    figure.y_axis(range=[-0.02, 1.02])
    drawn_all = all(len(members) <= MAX_PATHS for members in groups.values())
    return Panel(
        panel_id=panel_id,
        note="Target share along the trajectories, from the start state (step 0)."
        + ("" if drawn_all else f" Large groups show at most {MAX_PATHS} paths."),
        figures=(Figure(title="Trajectories", variants={"": figure}),),
    )


def covered(farm: FarmFacts, *, panel_id: str) -> Panel:
    """How many trajectories visit each (target share x step) cell; empty cells stay empty."""
    mixtures = [np.stack([1 - path.target_T, path.target_T], axis=1) for path in farm.paths]
    counts_ZM = coverage(mixtures, target_N=np.array([False, True]), steps=farm.steps).counts_ZM
    cells = np.where(counts_ZM > 0, counts_ZM, np.nan)[::-1, :MAX_STEPS]
    bounds = list(pairwise(SHARE_EDGES))[::-1]
    figure = heat_map(
        cells,
        x=list(range(1, cells.shape[1] + 1)),
        rows=[f"{low:.0%} to {high:.0%}" for low, high in bounds],
        colour="--count",
        z_title="trajectories",
        z_format=",d",
        from_zero=False,
    )
    # trajectories are whole: a tick at every so many, and none between
    most = max(2.0, largest(cells))
    figure.traces[0] |= {"zmin": 1, "zmax": most}
    figure.traces[0]["colorbar"] |= {"tick0": 0, "dtick": max(1, round(most / 5))}
    figure.layout(height=ROWS_MARGIN + 22 * len(bounds))
    figure.y_axis(title={"text": "target share"})
    empty = int((counts_ZM == 0).sum())
    return Panel(
        panel_id=panel_id,
        note=f"Number of trajectories per cell of target share and step. {counts_ZM.size - empty:,} of "
        f"{counts_ZM.size:,} cells have trajectories. An agent cannot learn the effect of mixtures "
        "in empty cells.",
        figures=(Figure(title="Coverage", variants={"": figure}),),
    )


def contrasts(farm: FarmFacts, *, panel_id: str) -> Panel:
    """Average mixtures of the steps that raised and that lowered each objective (the paper's Fig. 1)."""
    variants = {}
    objectives = [contrast.objective for contrast in farm.contrasts["raw"]]
    for against, members in farm.contrasts.items():
        for contrast in members:
            for view in ("fields", "most", "all"):
                key = SEPARATOR.join((f"o{objectives.index(contrast.objective)}", view, against))
                variants[key] = _contrast(farm.pairs, contrast, view=view)
    first = farm.contrasts["raw"][0]
    choices = (
        Choice("Objective", tuple((f"o{slot}", name) for slot, name in enumerate(objectives))),
        Choice("Domains", (("most", "most moved"), ("fields", "fields"), ("all", "all"))),
        Choice("Change", (("raw", "absolute"), ("step", "relative to the step's mean"))),
    )
    return Panel(
        panel_id=panel_id,
        note=f"Mean mixtures of two groups of steps of the farm: the {TAIL:.0%} ({first.tail:,} of "
        f"{first.steps:,}) after which the objective rose most, and the {TAIL:.0%} after which it "
        "fell most or rose least. Early steps change scores most, whatever the mixture. Therefore "
        "'relative to the step's mean' compares each step with all trajectories at the same step. "
        "Diamonds show the mean of all steps. The figure leaves out varied proxies.",
        choices=choices,
        figures=(
            Figure(title="Mixtures of the steps that raised or lowered each objective", variants=variants),
        ),
    )


def group_name(path: Path) -> str:
    """How a trajectory was made, for example `inductive, K = 100`."""
    return path.kind if path.top_k is None else f"{path.kind}, K = {path.top_k:,}"


def _contrast(pairs: Sequence[Pair], contrast: Contrast, *, view: str) -> Drawing:
    ends = {
        "raised": contrast.raised_N,
        "lowered": contrast.lowered_N,
        "all steps": contrast.all_N,
    }
    if view == "fields":
        rows = list(FIELDS)
        member_FN = np.array([[pair[0] == field for pair in pairs] for field in FIELDS], dtype=np.float64)
        ends = {name: member_FN @ weights_N for name, weights_N in ends.items()}
    else:
        moved_N = np.abs(contrast.raised_N - contrast.lowered_N)
        order = [i for i in np.argsort(-moved_N, kind="stable") if contrast.all_N[i] > 0]
        order = order[:MOST_MOVED] if view == "most" else sorted(order)
        rows = [f"{pairs[i][0]}: {domain_text(pairs[i][1])}" for i in order]
        ends = {name: weights_N[order] for name, weights_N in ends.items()}
    figure = drawing(x_title="mean share of samples", y_title="", y_format=None)
    for name, colour in (("raised", "var(--raised)"), ("lowered", "var(--lowered)")):
        figure.trace(
            "bar",
            x=rounded(ends[name], digits=4),
            y=rows,
            name=name,
            orientation="h",
            marker={"color": colour, "line": {"width": 0}},
        )
    figure.trace(
        "scatter",
        x=rounded(ends["all steps"], digits=4),
        y=rows,
        name="all steps",
        mode="markers",
        marker={"symbol": "diamond", "size": 7, "color": "var(--text)"},
    )
    figure.layout(
        barmode="group",
        bargap=0.3,
        hovermode="y unified",
        height=ROWS_MARGIN + _LESSON_ROW_HEIGHT * max(4, len(rows)),
    )
    figure.x_axis(tickformat="~%", hoverformat=".2%", rangemode="tozero")
    return figure.y_axis(type="category", showgrid=False, autorange="reversed")
