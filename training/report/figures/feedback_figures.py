"""Figures of feedback: scores over steps and over tokens, of one run or of runs side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dmix.training.report.figures.charts import (
    MAX_STEPS,
    SEPARATOR,
    Choice,
    Drawing,
    Figure,
    Panel,
    drawing,
    line_style,
    plain_text,
    rounded,
)
from dmix.training.report.queries import series
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.seeds import configuration
from dmix.training.report.queries.series import QUANTITIES
from dmix.warehouse_schema.taxonomy import FIELDS

# Places of cool and of warm colours among `--line-1` and those that follow.
_COOL, _WARM = (0, 2, 5, 6, 7), (1, 3, 4)
# By run: slot in the palette, and number among the runs of that colour.
RunColours = Mapping[str, tuple[int, int]]
_AXES = {"step": "step", "source": "source tokens so far", "target": "target tokens so far"}


@dataclass(frozen=True)
class ScoreLine:
    """A line of a feedback drawing: one objective of one run.

    Attributes:
        name: In the legend.
        slot: In the palette.
        member: Among the lines of that colour.
    """

    name: str
    run: Run
    objective: str
    slot: int
    member: int = 0


def feedback(runs: Sequence[Run], *, panel_id: str, colours: RunColours | None = None) -> Panel:
    """Scores over steps and over tokens of each field (the paper's Fig. 7).

    Args:
        runs: One run gives one drawing with a line per objective; several give one drawing an
            objective with a line per run.
        panel_id: Unique in the page.
        colours: Of several runs.
    """
    lines: dict[str, list[ScoreLine]] = {}
    if colours is None:
        (run,) = runs
        slots = objective_colours(run)
        lines["Feedback"] = [ScoreLine(name, run, name, slots[name]) for name in run.scores]
    else:
        for name in dict.fromkeys(name for run in runs for name in run.scores):
            lines[name] = [
                ScoreLine(run.run_id, run, name, *colours[run.run_id]) for run in runs if name in run.scores
            ]
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
        note="Mean log-probability of the answers in nats per token; higher is better. Changes are "
        "relative to the model before any training (step 0)."
        + (
            " General objectives have cool colours, target objectives warm ones."
            if colours is None
            else " Runs that differ only in their seeds share a colour."
        ),
        choices=(Choice("x axis", across), Choice("y axis", up)),
        figures=figures,
    )


def run_colours(runs: Sequence[Run]) -> RunColours:
    """One colour per configuration, for all drawings of these runs side by side."""
    slots: dict[str, int] = {}
    members: dict[int, int] = {}
    found = {}
    for run in runs:
        slot = slots.setdefault(configuration(run), len(slots))
        members[slot] = members.get(slot, -1) + 1
        found[run.run_id] = (slot, members[slot])
    return found


def objective_colours(run: Run) -> dict[str, int]:
    """Place of each objective of a run in the palette: cool colours for general ones, warm for others."""
    environment = series.environment_of(run.config)
    roles = {o.name: o.role for o in environment.objectives} if environment else {}
    given: dict[str, int] = {}
    for name in run.scores:
        palette = _COOL if roles.get(name, "general") == "general" else _WARM
        given[name] = next((slot for slot in palette if slot not in given.values()), len(given))
    return given


def target_shares(runs: Sequence[Run], *, panel_id: str, colours: RunColours) -> Panel:
    """Target share over steps, one line per run."""
    variants = {}
    for quantity in QUANTITIES:
        figure = drawing(x_title="step", y_title="share of samples", y_format=".0%")
        for run in runs:
            slot, member = colours[run.run_id]
            mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
            figure.trace(
                "scatter",
                x=mixture.steps_T.tolist(),
                y=rounded(mixture.by_field(run.pairs)[:, FIELDS.index("target")]),
                name=plain_text(run.run_id),
                **line_style(slot, member=member, points=len(mixture.steps_T)),
            )
        figure.y_axis(range=[0, 1.02])
        variants[quantity] = figure
    return Panel(
        panel_id=panel_id,
        note="Target share of each step. Runs that differ only in their seeds share a colour.",
        choices=(Choice("Quantity", tuple((quantity, quantity) for quantity in QUANTITIES)),),
        figures=(Figure(title="Target share by step", variants=variants),),
    )


def _score_lines(lines: Sequence[ScoreLine], *, x: str, y: str) -> Drawing:
    """Scores, or their change from step 0, over steps or the tokens of a field."""
    figure = drawing(x_title=_AXES[x], y_title="nats per token", y_format=".2f")
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
        figure.trace(
            "scatter",
            x=[at for at, _, _ in points],
            y=rounded(score for _, _, score in points),
            customdata=[step for _, step, _ in points],
            hovertemplate="%{y:.2f} (step %{customdata})",
            name=plain_text(line.name),
            **line_style(line.slot, member=line.member, points=len(points)),
        )
    if x != "step":
        figure.x_axis(tickformat="~s", hoverformat=".4~s")
        figure.layout(hovermode="closest")  # runs have no token counts in common
    return figure
