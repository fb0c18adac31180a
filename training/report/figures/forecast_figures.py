"""What the agent forecast of its scores beside what it got, a drawing per objective."""

import numpy as np

from dmix.training.report.figures.charts import Drawing, Figure, Panel, add_line, drawing, rounded
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.story import Forecast, forecast_story, forecasts


def forecast_panel(run: Run, *, panel_id: str) -> Panel | None:
    """Bands of the 95% intervals with the scores in them; None for a run without forecasts."""
    found = forecasts(run)
    if not found:
        return None
    return Panel(
        panel_id=panel_id,
        lead=forecast_story(run),
        note="Before each step, the agent forecasts the score after the step. If a score is outside the "
        "band, the agent corrects its plan. If scores stay below the band, the agent changes to "
        "natural mixing.",
        figures=tuple(
            Figure(title=f"Forecast and score: {name}", variants={"": _drawing(run, name, of)})
            for name, of in found.items()
        ),
    )


def _drawing(run: Run, name: str, of: list[Forecast]) -> Drawing:
    figure = drawing(x_title="step", y_title="nats per token", y_format=".2f")
    steps = [one.step for one in of]
    edge = {"mode": "lines", "line": {"width": 0, "color": "var(--band)"}, "showlegend": False}
    figure.trace("scatter", x=steps, y=rounded(one.low for one in of), name="low", hoverinfo="skip", **edge)
    figure.trace(
        "scatter",
        x=steps,
        y=rounded(one.high for one in of),
        name="high",
        hoverinfo="skip",
        fill="tonexty",
        fillcolor="var(--band)",
        **edge,
    )
    expected = [one.expected for one in of]
    add_line(figure, steps, expected, name="forecast", colour="var(--line-1)", dots=len(of) < 2, dash="dot")
    scored = [(step, score) for step, score in run.scores.get(name, ()) if np.isfinite(score)]
    at, scores = [step for step, _ in scored], [score for _, score in scored]
    add_line(figure, at, scores, name="got", colour="var(--line-2)", dots=True, size=6)
    return figure
