"""The heat map of effects: which text helps what."""

import numpy as np
from numpy.typing import NDArray

from dmix.mixing.space.noise import beyond_noise
from dmix.training.report.figures.charts import (
    ROW_HEIGHT,
    ROWS_MARGIN,
    Drawing,
    Figure,
    Panel,
    domain_text,
    drawing,
    plain_text,
    rounded,
)
from dmix.training.report.queries.effects import EffectFacts

# Share of the mixture whose move the cells show.
MOVED = 0.1


def effects(found: EffectFacts, *, panel_id: str) -> Panel:
    """One row per domain, one column per objective: green where the domain's text helps, red where it
    hurts.
    """
    return Panel(
        panel_id=panel_id,
        note=f"Gain of each objective, in nats per token, from a mixture of {MOVED:.0%} text of one domain "
        f"and {1 - MOVED:.0%} natural mixing. Each domain is in the group of the objective that gains most. "
        "Domains without a gain are at the end. Cells within noise (two standard errors) are empty.",
        figures=(Figure(title="Effects of domains on objectives", variants={"": _map(found)}),),
    )


def helpful_order(effect_PD: NDArray[np.float64]) -> list[int]:
    """Rows by the objective that they help most, in the order of columns, then by how much."""
    best_P = effect_PD.argmax(1)
    gain_P = effect_PD.max(1)
    keys = [
        (int(best) if gain > 0 else effect_PD.shape[1], -float(gain), row)
        for row, (best, gain) in enumerate(zip(best_P, gain_P, strict=True))
    ]
    return [row for *_, row in sorted(keys)]


def _map(found: EffectFacts) -> Drawing:
    clears = np.vectorize(lambda effect, stderr: beyond_noise(effect, stderr=stderr), otypes=[bool])
    clear_PD = np.where(clears(found.effect_PD, found.stderr_PD), found.effect_PD, np.nan)
    order = helpful_order(np.nan_to_num(clear_PD))
    cells_PD = MOVED * clear_PD[order]
    # the colour follows the square root, so that small effects are seen beside large ones
    shown_PD = np.sign(cells_PD) * np.sqrt(np.abs(cells_PD))
    most = float(np.nanmax(np.abs(shown_PD))) if np.isfinite(shown_PD).any() else 1.0
    rows = [f"{found.pairs[i][0]}: {domain_text(found.pairs[i][1])}" for i in order]
    figure = drawing(x_title="objective", y_title="", y_format=None).trace(
        "heatmap",
        z=[rounded(row, digits=4) for row in shown_PD],
        text=[[f"{value:+.3f}" if np.isfinite(value) else "" for value in row] for row in cells_PD],
        x=[plain_text(name) for name in found.objectives],
        y=rows,
        zmin=-most,
        zmax=most,
        colorscale=[[0.0, "var(--lowered)"], [0.5, "var(--surface)"], [1.0, "var(--raised)"]],
        showscale=False,
        hoverongaps=False,
        hovertemplate="%{y}, %{x}: %{text} nats per token<extra></extra>",
        texttemplate="%{text}",
        name="effect",
        xgap=1,
        ygap=1,
    )
    figure.layout(hovermode="closest", height=ROWS_MARGIN + ROW_HEIGHT * max(3, len(rows)))
    figure.y_axis(type="category", autorange="reversed", showgrid=False)
    return figure.x_axis(type="category", showgrid=False, side="top")
