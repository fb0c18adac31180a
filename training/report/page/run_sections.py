"""The parts of the page about runs: all of them side by side, and each by itself."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from dmix.training.report.figures import feedback_figures, forecast_figures, run_figures
from dmix.training.report.figures.charts import Panel
from dmix.training.report.page import run_tables, summary, tables
from dmix.training.report.page.parts import Section, folded, note, panel_box
from dmix.training.report.page.templates import joined, part
from dmix.training.report.queries import series, story
from dmix.training.report.queries.optimum import Optimum
from dmix.training.report.queries.reader import Pair
from dmix.training.report.queries.run_facts import Run
from dmix.training.report.queries.seeds import seed_groups

NO_FEEDBACK = "There is no feedback yet: no step of this run has a score."
NO_STEPS = "The controller has not decided any step yet."
NO_INTERVALS = "There is no interval, because no two finished runs on this page differ only in their seeds."
# What a seed of the configuration draws.
SEEDS = {"seed": "samples", "training.seed": "training", "model_file.seed": "first weights"}
SCORES = (
    "Scores are mean log-probabilities in nats per token; higher is better. The utility is the weighted "
    "sum of the score changes since step 0. Each change is divided by its scale from the environment "
    "file."
)


def overview_section(
    runs: Sequence[Run], *, warehouse: Path, corpora: Mapping[str, str], pool: Sequence[Run] = ()
) -> Section:
    """Final scores and tokens used; with several runs also their curves side by side.

    Args:
        runs: The runs of the page.
        warehouse: Root of their warehouse.
        corpora: Name of the pair of corpora of each dataset.
        pool: The runs and all of the warehouse that they can be compared with; the runs by default.
    """
    panels: list[Panel] = []
    if len(runs) > 1:
        colours = feedback_figures.run_colours(runs)
        with_steps = [run for run in runs if len(run.steps_T)]
        with_scores = [run for run in runs if run.scores]
        if with_steps:
            shares = feedback_figures.target_shares(with_steps, panel_id="compare-target", colours=colours)
            panels.append(shares)
        if with_scores:
            scores = feedback_figures.feedback(with_scores, panel_id="compare-feedback", colours=colours)
            panels.append(scores)
    parts: list[Any] = [
        summary.glance(runs, warehouse=warehouse, corpora=corpora, pool=pool),
        run_tables.final_table(runs),
    ]
    if any(run.scores for run in runs):
        parts.append(note(SCORES))
        groups = seed_groups(runs)
        parts.append(run_tables.seeds_table(groups) if groups else note(NO_INTERVALS))
    if any(run.evaluations for run in runs):
        parts.append(run_tables.benchmarks_table([run for run in runs if run.evaluations]))
    return Section(
        anchor="overview",
        title="Runs side by side" if len(runs) > 1 else "Result",
        content=joined([*parts, *(panel_box(panel) for panel in panels)]),
        panels=tuple(panels),
    )


def run_section(
    run: Run,
    ranks: Mapping[Pair, int],
    optimum: Optimum | None,
    *,
    promise: Sequence[Any] = (),
    opened: bool = True,
) -> Section:
    """Facts, promise and gain, mixture, feedback, losses and events of one run.

    Args:
        run: The run.
        ranks: Of `bands.ranked_domains`.
        optimum: RegMix's mixture, if there is one.
        promise: Parts on what a plan promised.
        opened: Whether it shows at first.
    """
    prefix = f"run-{run.run_id}"
    parts: list[Any] = [tables.pairs_list(run_facts(run)), *promise]
    panels = _mixture_panels(run, ranks, optimum) if len(run.steps_T) else []
    if not panels:
        parts.append(note(NO_STEPS))
    parts += [panel_box(panel) for panel in panels]
    forecast = forecast_figures.forecast_panel(run, panel_id=f"{prefix}-forecast")
    if forecast is not None:
        panels.append(forecast)
        parts.append(panel_box(forecast))
    if run.scores:
        panels.append(feedback_figures.feedback([run], panel_id=f"{prefix}-feedback"))
        parts.append(panel_box(panels[-1]))
    else:
        parts.append(note(NO_FEEDBACK))
    if run.evaluations:
        panels.append(run_figures.benchmarks(run, panel_id=f"{prefix}-benchmarks"))
        parts.append(panel_box(panels[-1]))
    if (run.loss_tokens_TN > 0).any():
        panels.append(run_figures.domain_loss(run, ranks, panel_id=f"{prefix}-loss"))
        parts.append(panel_box(panels[-1]))
    rails = run_figures.guard_rails(run, panel_id=f"{prefix}-rails")
    if rails is not None:
        panels.append(rails)
        parts.append(panel_box(rails))
    parts += _details(run, ranks)
    return Section(
        anchor=prefix,
        title=f"Run {run.run_id}",
        content=joined(parts),
        panels=tuple(panels),
        opened=opened,
    )


def first_open(runs: Sequence[Run]) -> str | None:
    """Id of the run that shows at first: of an agent or a plan if there is one."""
    return next((run.run_id for run in runs if run.leads), runs[0].run_id if runs else None)


def run_facts(run: Run) -> dict[str, Any]:
    """What a reader asks first of a run, by name."""
    used = series.tokens_used(run)
    seeds = series.seeds_of(run.config)
    return {
        "Controller": run.controller,
        "Status": run_tables.status_badge(run.status),
        "Dataset": run.dataset,
        "Kind": run.kind,
        "Model": _short(series.setting_of(run.config, "model")),
        "Steps (M)": run_tables.steps_text(run),
        "Samples per step (R)": series.setting_of(run.config, "step_samples", "samples_per_step"),
        "Batch (B)": series.setting_of(run.config, "batch_size"),
        "Exhaustion": series.setting_of(run.config, "exhaustion"),
        "Seeds": ", ".join(f"{SEEDS.get(name, name)} {value}" for name, value in seeds.items()),
        "Source tokens": used["source"],
        "Target tokens": used["target"],
        "Started (UTC)": run.started_at,
        "Finished (UTC)": run.finished_at,
    }


def _short(model: Any) -> Any:
    """The last part of a path, which is whole in the configuration; a hub id as it is."""
    return PurePath(model).name if isinstance(model, str) and PurePath(model).is_absolute() else model


def _mixture_panels(run: Run, ranks: Mapping[Pair, int], optimum: Optimum | None) -> list[Panel]:
    prefix = f"run-{run.run_id}"
    fields = run_figures.field_mixture(run, optimum, panel_id=f"{prefix}-fields")
    found = [dataclasses.replace(fields, lead=story.mixture_story(run))]
    if len(run.pairs) > 2:
        found.append(run_figures.domain_mixture(run, ranks, optimum, panel_id=f"{prefix}-domains"))
        found.append(run_figures.every_domain(run, ranks, optimum, panel_id=f"{prefix}-every"))
    return found


def _details(run: Run, ranks: Mapping[Pair, int]) -> list[Any]:
    """What is folded away at first."""
    prefix, parts = f"run-{run.run_id}", []
    if len(run.steps_T):
        numbers = run_tables.delivered_table(run, ranks)
        parts.append(folded("Domains of this run in numbers", numbers, anchor=f"{prefix}-numbers"))
    if run.departures:
        listed = run_tables.departures_table(run.departures)
        parts.append(
            folded(
                "Steps with a planned weight other than the asked weight",
                listed,
                anchor=f"{prefix}-departures",
            )
        )
    if run.events:
        listed = run_tables.events_table(run.events)
        parts.append(folded(f"Events ({len(run.events):,})", listed, anchor=f"{prefix}-events"))
    if run.config:
        written = part("preformatted", text=json.dumps(run.config, indent=2, ensure_ascii=False))
        parts.append(folded("Configuration", written, anchor=f"{prefix}-config"))
    return parts
