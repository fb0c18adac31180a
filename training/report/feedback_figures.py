"""Figures of feedback: scores over steps and over tokens, of one run or of runs side by side."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dmix.training.report import series
from dmix.training.report.charts import (
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
from dmix.training.report.run_facts import Run
from dmix.training.report.series import QUANTITIES
from dmix.warehouse_schema.taxonomy import FIELDS

_AXES = {"step": "step", "source": "source tokens so far", "target": "target tokens so far"}


@dataclass(frozen=True)
class ScoreLine:
    """A line of a feedback drawing: one objective of one run.

    Attributes:
        name: In the legend.
        place: In the palette.
    """

    name: str
    run: Run
    objective: str
    place: int


def feedback(runs: Sequence[Run], *, panel_id: str) -> Panel:
    """Scores over steps and over tokens of each field (the paper's Fig. 7).

    One run gives one drawing with a line an objective; several give one drawing an objective with
    a line a run.
    """
    objectives = list(dict.fromkeys(name for run in runs for name in run.scores))
    lines: dict[str, list[ScoreLine]] = {}
    for number, run in enumerate(runs):
        for place, name in enumerate(name for name in objectives if name in run.scores):
            if len(runs) == 1:
                lines.setdefault("Feedback", []).append(ScoreLine(name, run, name, place))
            else:
                lines.setdefault(name, []).append(ScoreLine(run.run_id, run, name, number))
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
    for quantity in QUANTITIES:
        figure = drawing(x_title="step", y_title="share of samples", y_format=".0%")
        for place, run in enumerate(runs):
            mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
            figure.trace(
                "scatter",
                x=mixture.steps_T.tolist(),
                y=rounded(mixture.by_field(run.pairs)[:, FIELDS.index("target")]),
                name=plain_text(run.run_id),
                **line_style(place, points=len(mixture.steps_T)),
            )
        figure.y_axis(range=[0, 1.02])
        variants[quantity] = figure
    return Panel(
        panel_id=panel_id,
        note="How much of each step went to the target field.",
        choices=(Choice("Quantity", tuple((quantity, quantity) for quantity in QUANTITIES)),),
        figures=(Figure(title="Share of the target field", variants=variants),),
    )


def _score_lines(lines: Sequence[ScoreLine], *, x: str, y: str) -> Drawing:
    """Scores, or their change from step 0, over steps or the tokens of a field."""
    figure = drawing(x_title=_AXES[x], y_title="nats a token", y_format=".4f")
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
            hovertemplate="%{y:.4f} (step %{customdata})",
            name=plain_text(line.name),
            **line_style(line.place, points=len(points)),
        )
    if x != "step":
        figure.x_axis(tickformat="~s", hoverformat=".4~s")
        figure.layout(hovermode="closest")  # runs have no token counts in common
    return figure
