"""Tables about runs: final scores, what was delivered, benchmarks, events."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from dmix.training.evaluation.natural import MEAN, Difference
from dmix.training.report.page.tables import Cell, share_cell, table
from dmix.training.report.page.templates import part
from dmix.training.report.queries import series
from dmix.training.report.queries.judged import FromNatural
from dmix.training.report.queries.reader import Pair
from dmix.training.report.queries.run_facts import Departure, Run, RunEvent
from dmix.training.report.queries.seeds import LEVEL, SeedGroup

MAX_EVENTS = 300


def final_table(runs: Sequence[Run]) -> Markup:
    """Last scores and the tokens that they cost, one row per run."""
    objectives = list(dict.fromkeys(name for run in runs for name in run.scores))
    utilities = [series.final_utility(run) for run in runs]
    with_utility = any(value is not None for value in utilities)
    rows = []
    for run, value in zip(runs, utilities, strict=True):
        scores, used = series.final_scores(run), series.tokens_used(run)
        row: list[Any] = [part("run_link", run_id=run.run_id)]
        row += [_utility_cell(value)] if with_utility else []
        row += [_score_cell(scores.get(name)) for name in objectives]
        rows.append(
            [
                *row,
                run.controller,
                _whole(series.setting_of(run.config, "seed")),
                status_badge(run.status),
                Cell(steps_text(run), sort=run.steps_done),
                used["source"],
                used["target"],
            ]
        )
    # scores first: a phone shows three columns
    columns = ["run"] + (["utility"] if with_utility else []) + objectives
    columns += ["controller", "seed", "status", "steps", "source tokens", "target tokens"]
    return table(columns, rows, caption="Final scores (change from step 0) and tokens used")


def natural_table(found: Sequence[FromNatural]) -> Markup:
    """Differences from natural mixing, a row per run and a column per objective."""
    names = list(dict.fromkeys(one.name for of in found for one in of.differences if one.name != MEAN))
    columns = [*names, *([MEAN] if any(len(of.differences) > 1 for of in found) else [])]
    rows = []
    for of in found:
        cells = {one.name: one for one in of.differences}
        row = [part("run_link", run_id=of.run_id), part("line", text=of.who)]
        rows.append([*row, *(_difference_cell(cells.get(name)) for name in columns)])
    return table(
        ["run", "compared with", *columns],
        rows,
        caption="Difference from natural mixing on items that no controller saw, after the last step, in "
        "nats per token. Above 0, the run is better than natural mixing",
        cards=True,
    )


def _difference_cell(one: Difference | None) -> Markup | None:
    if one is None:
        return None
    error = "" if one.stderr is None else f" ± {one.stderr:.3f}"
    return part("changes", word=one.word, kind=one.colour, lines=[f" {one.difference:+.3f}{error}"])


def steps_text(run: Run) -> str:
    """Steps done, of those planned where the configuration says it."""
    planned = series.setting_of(run.config, "steps")
    return f"{run.steps_done:,}" + (f" of {planned:,}" if isinstance(planned, int) else "")


def status_badge(status: str) -> Markup:
    """The status as a word with its own colour and mark."""
    marks = {"done": "✓", "running": "▶", "failed": "✗", "stopped": "■", "stale": "…"}
    known = status if status in marks else "stale"
    return part("badge", text=f"{marks.get(status, '')} {status}".strip(), kind=known)


def seeds_table(groups: Sequence[SeedGroup]) -> Markup:
    """Means over runs of equal configuration, with their intervals."""
    names = list(dict.fromkeys(name for group in groups for name in group.values))
    rows = []
    for group in groups:
        row: list[Any] = [group.controller]
        for name in names:
            found = group.values.get(name)
            if found is None:
                row.append(None)
            elif name.endswith(" tokens"):
                row.append(Cell(f"{found.mean:,.0f} ± {found.half:,.0f}", sort=found.mean))
            else:
                mean = f"{found.mean:+.2f}" if name == "utility" else f"{found.mean:.2f}"
                row.append(Cell(f"{mean} ± {found.half:.2f}", sort=found.mean))
        runs = Markup(", ").join(part("line", text=run_id) for run_id in group.run_ids)
        rows.append([*row, len(group.run_ids), runs])
    return table(
        ["controller", *names, "seeds", "runs"],
        rows,
        caption=f"Means over seeds with {LEVEL:.0%} intervals (Student's t over the runs)",
    )


def benchmarks_table(runs: Sequence[Run]) -> Markup:
    """The last benchmark scores of every run beside the feedback after the same step."""
    objectives = list(dict.fromkeys(name for run in runs for name in run.scores))
    scores = {(e.task, e.metric): None for run in runs for e in run.evaluations}
    rows = []
    for run in runs:
        for step in sorted({e.step for e in run.evaluations}):
            found = {(e.task, e.metric): e for e in run.evaluations if e.step == step}
            seen = {name: dict(points).get(step) for name, points in run.scores.items()}
            row: list[Any] = [part("run_link", run_id=run.run_id), run.controller, step]
            for key in scores:
                score = found.get(key)
                spread = "" if score is None or score.stderr is None else f" ± {score.stderr:.2f}"
                row.append(None if score is None else Cell(f"{score.value:.2f}{spread}", sort=score.value))
            row += [
                None if seen.get(name) is None else Cell(f"{seen[name]:.2f}", sort=seen[name])
                for name in objectives
            ]
            rows.append(row)
    return table(
        ["run", "controller", "step", *(f"{task}, {metric}" for task, metric in scores), *objectives],
        rows,
        caption="Benchmarks of checkpoints (± one standard error) beside the feedback after the same step",
        groups=[("", 3), ("benchmarks", len(scores))]
        + ([("feedback", len(objectives))] if objectives else []),
    )


def delivered_table(run: Run, ranks: Mapping[Pair, int]) -> Markup:
    """What a run drew from each domain in all: mean shares, samples, tokens, passes."""
    means = {
        quantity: mixture.weights_TN.mean(axis=0)
        for quantity in series.QUANTITIES
        if len((mixture := series.shares(run, quantity)).steps_T)
    }
    samples_N, tokens_N = (np.nan_to_num(v).sum(axis=0) for v in (run.samples_TN, run.tokens_TN))
    passes_N = np.nan_to_num(run.passes_TN).max(axis=0, initial=0.0)
    rows = []
    for index, (field, domain) in enumerate(run.pairs):
        if (field, domain) not in ranks:
            continue
        shares = [
            share_cell(float(means[quantity][index]), field) if quantity in means else None
            for quantity in reversed(series.QUANTITIES)
        ]
        passes = Cell(f"{passes_N[index]:.2f}", sort=float(passes_N[index]))
        drawn = [int(samples_N[index]), int(tokens_N[index]), passes]
        rows.append([domain.replace("_", " "), field, *shares, *drawn])
    columns = ["domain", "field", "asked", "planned", "delivered", "samples", "tokens", "passes"]
    return table(columns, rows, caption="Mean shares over the steps, and total delivery")


def events_table(events: Sequence[RunEvent]) -> Markup:
    """Notes and marks of a run; of very many the last ones."""
    shown = events[-MAX_EVENTS:]
    rows = [[event.step, event.kind.replace("_", " "), event.detail] for event in shown]
    left_out = f", the last {MAX_EVENTS} of {len(events):,}" if len(events) > len(shown) else ""
    return table(["step", "event", "detail"], rows, caption=f"Events{left_out}")


def departures_table(departures: Sequence[Departure]) -> Markup:
    """Where and why the plan is not what was asked for."""
    shown = departures[:MAX_EVENTS]
    rows = [
        [d.domain.replace("_", " "), d.field, d.reason, d.steps, d.first_step, d.last_step] for d in shown
    ]
    left_out = f", the first {MAX_EVENTS} of {len(departures):,}" if len(departures) > len(shown) else ""
    return table(
        ["domain", "field", "reason", "steps", "first step", "last step"],
        rows,
        caption=f"Steps with a planned weight other than the asked weight{left_out}",
    )


def _whole(number: Any) -> Cell | None:
    """A seed: a number without separators."""
    return Cell(str(number), sort=number) if isinstance(number, int) else None


def _score_cell(score: series.FinalScore | None) -> Cell | None:
    if score is None:
        return None
    change = "" if score.change is None else f" ({score.change:+.2f})"
    return Cell(f"{score.last:.2f}{change}", sort=score.last)


def _utility_cell(value: float | None) -> Cell | None:
    return None if value is None else Cell(f"{value:+.2f}", sort=value)
