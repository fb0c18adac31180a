"""What the agent forecast of its scores beside what it got, a drawing per objective."""

import numpy as np

from dmix.training.report.figures.charts import Drawing, Figure, Panel, drawing, plain_text, rounded
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
        choices=(),
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
    figure.trace(
        "scatter",
        x=steps,
        y=rounded(one.expected for one in of),
        name="forecast",
        mode="lines+markers" if len(of) < 2 else "lines",
        line={"color": "var(--line-1)", "width": 2, "dash": "dot"},
        marker={"color": "var(--line-1)", "size": 5},
    )
    scores = [(step, score) for step, score in run.scores.get(name, ()) if np.isfinite(score)]
    figure.trace(
        "scatter",
        x=[step for step, _ in scores],
        y=rounded(score for _, score in scores),
        name=plain_text("got"),
        mode="lines+markers",
        line={"color": "var(--line-2)", "width": 2},
        marker={"color": "var(--line-2)", "size": 6},
    )
    return figure
