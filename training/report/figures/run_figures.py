"""Figures of one run: its mixture by field and by domain, losses, guard rails, benchmarks."""

from collections.abc import Mapping, Sequence

import numpy as np

from dmix.training.report.figures.bands import LARGEST, Band, bands
from dmix.training.report.figures.charts import (
    MAX_STEPS,
    SEPARATOR,
    Choice,
    Drawing,
    Figure,
    Panel,
    add_line,
    drawing,
    heat_map,
    line_style,
    plain_text,
    rounded,
    thinning_note,
)
from dmix.training.report.queries import series
from dmix.training.report.queries.optimum import Optimum
from dmix.training.report.queries.reader import Pair
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.series import QUANTITIES, Shares
from dmix.warehouse_schema.taxonomy import FIELDS

QUANTITY = Choice("Quantity", tuple((quantity, quantity) for quantity in QUANTITIES))
# Lines where all three quantities are in one drawing; dashes alone are RegMix's.
_TOGETHER = {"delivered": "solid", "planned": "dashdot", "asked": "dot"}
_LOSS = "loss in nats per token"
_METRICS = {
    "acc": "share of right answers",
    "acc_norm": "share of right answers, by likelihood per byte",
    "log_likelihood": "log-likelihood of an answer in nats",
    "pass@1": "share of problems solved",
}


def field_mixture(run: Run, optimum: Optimum | None, *, panel_id: str) -> Panel:
    """Share of source and target over steps (the paper's Fig. 4)."""
    mixtures = {q: series.thinned(series.shares(run, q), limit=MAX_STEPS) for q in QUANTITIES}
    variants = {q: _field_lines(run, {q: mixtures[q]}, optimum) for q in QUANTITIES}
    variants["together"] = _field_lines(run, mixtures, optimum)
    note = (
        "Asked: the mixture from the controller. Planned: the same after guard rails, and after changes "
        "for domains without samples. Delivered: the mixture that the training used."
    )
    width = max(mixture.width for mixture in mixtures.values())
    return Panel(
        panel_id=panel_id,
        note=note + _optimum_note(optimum) + thinning_note(width),
        choices=(Choice(QUANTITY.label, (*QUANTITY.options, ("together", "all three"))),),
        figures=(Figure(title="Mixture by field", variants=variants),),
    )


def domain_mixture(run: Run, ranks: Mapping[Pair, int], optimum: Optimum | None, *, panel_id: str) -> Panel:
    """Shares of the largest domains over steps, stacked or as lines (the paper's Fig. 5 and 6)."""
    variants, width = {}, 1
    stacked = bands(run, ranks)
    for quantity in QUANTITIES:
        mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
        width = max(width, mixture.width)
        variants[f"{quantity}{SEPARATOR}areas"] = _stacked(mixture, stacked)
        variants[f"{quantity}{SEPARATOR}lines"] = _domain_lines(run, mixture, stacked, optimum)
    note = (
        "The largest domains of each field have their own colour; the figure below shows all domains. "
        "Source domains have cool colours, and target domains have warm colours."
    )
    lines = _optimum_note(optimum, where="Among the lines")
    return Panel(
        panel_id=panel_id,
        note=note + lines + thinning_note(width),
        choices=(QUANTITY, Choice("Drawing", (("areas", "areas"), ("lines", "lines")))),
        figures=(Figure(title="Mixture by domain", variants=variants),),
    )


def every_domain(run: Run, ranks: Mapping[Pair, int], optimum: Optimum | None, *, panel_id: str) -> Panel:
    """Share of every domain over steps, a row per domain and a drawing per field."""
    figures = []
    width = 1
    for field in FIELDS:
        members = sorted(
            (pair for pair in run.pairs if pair[0] == field and pair in ranks), key=ranks.__getitem__
        )
        if not members:
            continue
        columns = [run.pairs.index(pair) for pair in members]
        variants = {}
        for quantity in QUANTITIES:
            mixture = series.thinned(series.shares(run, quantity), limit=MAX_STEPS)
            width = max(width, mixture.width)
            figure = heat_map(
                mixture.weights_TN[:, columns].T,
                x=mixture.steps_T.tolist(),
                rows=[domain.replace("_", " ") for _, domain in members],
                colour=f"--{field}",
                z_title="share of samples",
                z_format=".2%",
            )
            if optimum is not None and len(mixture.steps_T):
                _add_optimum_column(figure, optimum, members, last_step=int(mixture.steps_T[-1]))
            variants[quantity] = figure
        figures.append(Figure(title=f"Every domain of the {field}", variants=variants))
    column = (
        ""
        if optimum is None
        else f" The column on the right shows the best constant mixture according to {optimum.name}."
    )
    return Panel(
        panel_id=panel_id,
        note="Share of samples. The largest domain is at the top. The colour shows the square root of "
        "the share, so that small shares are visible." + column + thinning_note(width),
        choices=(QUANTITY,),
        figures=tuple(figures),
    )


def domain_loss(run: Run, ranks: Mapping[Pair, int], *, panel_id: str) -> Panel:
    """Training loss over steps: of the fields, of the largest domains, of all domains."""
    fields = drawing(x_title="step", y_title=_LOSS, y_format=".2f")
    steps, dots = run.steps_T.tolist(), len(run.steps_T) < 100
    for field in FIELDS:
        loss_T = series.field_loss(run, field)
        add_line(fields, steps, loss_T, name=field, colour=f"var(--{field})", dots=dots, size=4)
    largest = drawing(x_title="step", y_title=_LOSS, y_format=".2f")
    for band in bands(run, ranks):
        if len(band.members) == 1:
            name, colour = f"{band.field}: {band.name}", f"var(--{band.colour})"
            loss_T = run.loss_TN[:, band.members[0]]
            add_line(largest, steps, loss_T, name=name, colour=colour, dots=dots, size=4)
    largest.layout(hovermode="closest")  # a list of twelve entries would cover the drawing
    trained = [
        i for i, pair in enumerate(run.pairs) if pair in ranks and np.isfinite(run.loss_TN[:, i]).any()
    ]
    every = heat_map(
        run.loss_TN[:, trained].T,
        x=run.steps_T.tolist(),
        rows=[f"{run.pairs[i][0]}: {run.pairs[i][1]}".replace("_", " ") for i in trained],
        colour="--loss",
        z_title=_LOSS,
        z_format=".2f",
        spread=False,
        from_zero=False,
    )
    views = (("fields", "fields"), ("largest", "largest per field"), ("all", "all domains"))
    return Panel(
        panel_id=panel_id,
        note="Mean training loss of each step in nats per token. A gap is a step without samples of the"
        " domain.",
        choices=(Choice("Domains", views),),
        figures=(
            Figure(title="Loss by domain", variants={"fields": fields, "largest": largest, "all": every}),
        ),
    )


def guard_rails(run: Run, *, panel_id: str) -> Panel | None:
    """Steps in which something changed the mixture or warned of it, a row per kind; None without one."""
    marks = series.mixture_events(run)
    if not marks:
        return None
    figure = drawing(x_title="step", y_title="", y_format=None)
    for slot, kind in enumerate(dict.fromkeys(event.kind for event in marks)):
        members = [event for event in marks if event.kind == kind]
        style = line_style(slot, points=len(members))
        figure.trace(
            "scatter",
            x=[event.step for event in members],
            y=[plain_text(kind.replace("_", " "))] * len(members),
            text=[plain_text(event.detail[:120]) for event in members],
            hovertemplate="step %{x}: %{text}<extra></extra>",
            name=plain_text(kind.replace("_", " ")),
            showlegend=False,  # rows have their names
            mode="markers",
            marker={**style["marker"], "size": 9},
        )
    figure.layout(hovermode="closest", height=110 + 34 * len(figure.traces))
    figure.y_axis(type="category", showgrid=False)
    if len(run.steps_T):
        figure.x_axis(range=[0, int(run.steps_T[-1]) + 1])
    return Panel(
        panel_id=panel_id,
        note="Interventions by step: changes to natural mixing, alarms, guard rails, and domains without "
        "samples. The list of events below has the full text.",
        figures=(Figure(title="Guard rails", variants={"": figure}),),
    )


def benchmarks(run: Run, *, panel_id: str) -> Panel:
    """Benchmark scores over the steps of the checkpoints, a line per task and a drawing per metric."""
    figures = []
    for metric in dict.fromkeys(score.metric for score in run.evaluations):
        figure = drawing(x_title="step", y_title=plain_text(_METRICS.get(metric, metric)), y_format=".3f")
        figure.x_axis(rangemode="normal")  # error bars at step 0 need room
        of_metric = [score for score in run.evaluations if score.metric == metric]
        for slot, task in enumerate(dict.fromkeys(score.task for score in of_metric)):
            scores = [score for score in of_metric if score.task == task]
            style = line_style(slot, points=len(scores))
            figure.trace(
                "scatter",
                x=[score.step for score in scores],
                y=rounded(score.value for score in scores),
                error_y={"type": "data", "array": [score.stderr or 0.0 for score in scores], "width": 3},
                name=plain_text(task),
                **style,
            )
        figures.append(Figure(title=f"Benchmarks: {metric}", variants={"": figure}))
    return Panel(
        panel_id=panel_id,
        note="Benchmark scores of the checkpoints; bars show one standard error.",
        figures=tuple(figures),
    )


def _field_lines(run: Run, mixtures: Mapping[str, Shares], optimum: Optimum | None) -> Drawing:
    figure = drawing(x_title="step", y_title="share of samples", y_format=".0%")
    for index, field in enumerate(FIELDS):
        for quantity, mixture in mixtures.items():
            alone = len(mixtures) == 1
            add_line(
                figure,
                mixture.steps_T.tolist(),
                mixture.by_field(run.pairs)[:, index],
                name=f"{field} {quantity}",
                colour=f"var(--{field})",
                dots=len(mixture.steps_T) < 2 or quantity == "delivered",
                size=5 if len(mixture.steps_T) < 100 else 2,
                dash="solid" if alone else _TOGETHER[quantity],
            )
        if optimum is not None:
            share = sum(weight for pair, weight in optimum.weights.items() if pair[0] == field)
            _add_dashed(
                figure,
                run,
                share,
                name=f"{field} {optimum.name}",
                group=optimum.name,
                colour=f"var(--{field})",
            )
    return figure.y_axis(range=[0, 1.02])


def _stacked(mixture: Shares, stacked: Sequence[Band]) -> Drawing:
    """Areas, flat within a step; a bar when there is only one step, which has no width as an area."""
    figure = drawing(x_title="step", y_title="share of samples", y_format=".1%")
    for band in stacked:
        weights_T = mixture.weights_TN[:, list(band.members)].sum(axis=1)
        name = plain_text(f"{band.field}: {band.name}")
        x, y, colour = mixture.steps_T.tolist(), rounded(weights_T), f"var(--{band.colour})"
        if len(x) == 1:
            figure.trace("bar", x=x, y=y, name=name, marker={"color": colour}).layout(barmode="stack")
        elif x:
            # half a step more at both ends, so that the first and the last one are as wide as the others
            figure.trace(
                "scatter",
                x=[x[0] - 0.5, *x, x[-1] + 0.5],
                y=[y[0], *y, y[-1]],
                name=name,
                stackgroup="mixture",
                mode="lines",
                fillcolor=colour,
                # a separator in the colour of the page; legends show the colour of the area
                line={"color": "var(--surface)", "width": 0.6, "shape": "hvh"},
            )
    figure.layout(hovermode="closest" if len(stacked) > LARGEST else "x unified")
    figure.x_axis(rangemode="normal")
    return figure.y_axis(range=[0, 1], tickformat=".0%")


def _domain_lines(run: Run, mixture: Shares, stacked: Sequence[Band], optimum: Optimum | None) -> Drawing:
    figure = drawing(x_title="step", y_title="share of samples", y_format=".1%")
    for band in stacked:
        if len(band.members) > 1:
            continue
        name, colour = f"{band.field}: {band.name}", f"var(--{band.colour})"
        steps, weights_T = mixture.steps_T.tolist(), mixture.weights_TN[:, band.members[0]]
        add_line(figure, steps, weights_T, name=name, colour=colour, dots=len(steps) < 2)
        if optimum is not None:
            weight = optimum.weights.get(run.pairs[band.members[0]], 0.0)
            _add_dashed(
                figure, run, weight, name=f"{name}, {optimum.name}", group=optimum.name, colour=colour
            )
    return figure.layout(hovermode="closest").y_axis(rangemode="tozero")


def _add_dashed(figure: Drawing, run: Run, share: float, *, name: str, group: str, colour: str) -> None:
    """A constant over the run; the page shows one legend entry for all lines of a group."""
    first, last = (int(run.steps_T[0]), int(run.steps_T[-1])) if len(run.steps_T) else (0, 1)
    figure.trace(
        "scatter",
        x=[first, max(last, first + 1)],
        y=rounded([share, share]),
        name=plain_text(name),
        legendgroup="optimum",
        legendgrouptitle={"text": plain_text(group)},
        mode="lines",
        line={"color": colour, "dash": "dash", "width": 1.5},
    )


def _add_optimum_column(
    figure: Drawing, optimum: Optimum, members: Sequence[Pair], *, last_step: int
) -> None:
    """The optimum as a column of its own, right of the last step."""
    cells = figure.traces[0]
    gap, width = max(1, round(last_step * 0.03)), max(1, round(last_step * 0.04))
    left = last_step + 0.5 + gap
    weights = rounded((optimum.weights.get(pair, 0.0) for pair in members), digits=4)
    shown = [weight for row in [*cells["z"], weights] for weight in row if weight is not None]
    # one scale for both, so that colours can be compared
    scale = {"zmin": 0, "zmax": max(shown, default=0.0) or 1.0}
    cells |= scale
    figure.trace(
        "heatmap",
        z=[[weight] for weight in weights],
        x=[left, left + width],  # edges
        y=cells["y"],
        colorscale=cells["colorscale"],
        showscale=False,
        ygap=1,
        hovertemplate=f"%{{y}}, {plain_text(optimum.name)}: %{{z:.2%}}<extra></extra>",
        **scale,
    )
    label = {"x": left + width / 2, "y": 1, "yref": "paper", "yanchor": "bottom", "text": "RegMix"}
    figure.layout(annotations=[{**label, "showarrow": False}])


def _optimum_note(optimum: Optimum | None, *, where: str = "Dashed") -> str:
    if optimum is None:
        return ""
    dashed = "dashed" if where != "Dashed" else ""
    return (
        f" {where}{', ' if dashed else ''}{dashed}: the best constant mixture according to "
        f"{optimum.name} ({optimum.origin})."
    )
