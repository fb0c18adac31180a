"""The parts of the page: runs side by side, one run, the data."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dmix.training.report import figures, series, tables
from dmix.training.report.facts import Corpus, Dataset, Pair, Run
from dmix.training.report.figures import Panel
from dmix.training.report.markup import Markup, join, tag

NO_FEEDBACK = "No feedback so far: no step of this run has been scored."
NO_STEPS = "No step has been decided so far."


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Attributes:
        anchor: Its id, the target of links.
        title: Heading and entry of the contents.
        content: What stands below the heading.
        panels: Panels whose figures the content has places for.
    """

    anchor: str
    title: str
    content: Markup
    panels: tuple[Panel, ...] = ()


def overview_section(runs: Sequence[Run]) -> Section:
    """Final scores and tokens used; with several runs also their curves side by side."""
    panels: list[Panel] = []
    if len(runs) > 1:
        with_steps = [run for run in runs if len(run.steps_T)]
        with_scores = [run for run in runs if run.scores]
        if with_steps:
            panels.append(figures.target_shares(with_steps, panel_id="compare-target"))
        if with_scores:
            panels.append(figures.feedback(with_scores, panel_id="compare-feedback"))
    note = tag(
        "p",
        "Scores are mean log-probabilities in nats a token; higher is better. Every row is one run: a"
        " difference is only worth what it is against the spread between seeds.",
        class_="note",
    )
    content = join([tables.final_table(runs), note, *(place(panel) for panel in panels)])
    return Section(
        anchor="overview",
        title="Runs side by side" if len(runs) > 1 else "Result",
        content=content,
        panels=tuple(panels),
    )


def run_section(run: Run, ranks: Mapping[Pair, int]) -> Section:
    """Facts, mixture, feedback and events of one run."""
    prefix = f"run-{run.run_id}"
    panels: list[Panel] = []
    parts: list[Any] = [tables.pairs_list(run_facts(run))]
    if len(run.steps_T):
        by_field = figures.field_mixture(run, panel_id=f"{prefix}-fields")
        by_domain = figures.domain_mixture(run, ranks, panel_id=f"{prefix}-domains")
        panels += [by_field, by_domain]
        parts += [place(by_field), place(by_domain)]
        parts.append(_folded("Domains of this run in numbers", tables.delivered_table(run, ranks)))
    else:
        parts.append(tag("p", NO_STEPS, class_="note"))
    if run.scores:
        scores = figures.feedback([run], panel_id=f"{prefix}-feedback")
        panels.append(scores)
        parts.append(place(scores))
    else:
        parts.append(tag("p", NO_FEEDBACK, class_="note"))
    if run.departures:
        parts.append(_folded("Where planned differs from asked", tables.departures_table(run.departures)))
    if run.events:
        parts.append(_folded(f"Events ({len(run.events):,})", tables.events_table(run.events)))
    if run.config:
        written = json.dumps(run.config, indent=2, ensure_ascii=False)
        parts.append(_folded("Configuration", tag("pre", written, tabindex=0)))
    return Section(anchor=prefix, title=f"Run {run.run_id}", content=join(parts), panels=tuple(panels))


def run_facts(run: Run) -> dict[str, Any]:
    """What a reader asks first of a run, by name."""
    used = series.tokens_used(run)
    seeds = series.seeds_of(run.config)
    return {
        "Controller": run.controller,
        "Status": tables.status_badge(run.status),
        "Dataset": run.dataset,
        "Kind": run.kind,
        "Model": series.setting_of(run.config, "model"),
        "Steps (M)": tables.steps_text(run),
        "Samples a step (R)": series.setting_of(run.config, "step_samples", "samples_per_step"),
        "Batch (B)": series.setting_of(run.config, "batch_size"),
        "Exhaustion": series.setting_of(run.config, "exhaustion"),
        "Seeds": ", ".join(f"{name} {value}" for name, value in seeds.items()),
        "Source tokens": used["source"],
        "Target tokens": used["target"],
        "Started (UTC)": run.started_at,
        "Finished (UTC)": run.finished_at,
    }


def data_section(corpora: Sequence[Corpus], datasets: Sequence[Dataset]) -> Section:
    """Corpora, and for every dataset its settings and domains."""
    panels: list[Panel] = []
    parts: list[Any] = [tables.corpora_table(corpora)] if corpora else []
    for dataset in datasets:
        title = f"Dataset {dataset.name or dataset.dataset}"
        parts += [
            tag("h3", title, id=f"dataset-{dataset.dataset}"),
            tables.pairs_list(dataset_facts(dataset)),
        ]
        if any(stream.documents for stream in dataset.streams):
            panel = figures.domain_sizes(dataset, panel_id=f"dataset-{dataset.dataset}-sizes")
            panels.append(panel)
            parts += [place(panel), tables.domain_table(dataset)]
    if not datasets:
        hint = (
            "No dataset yet: 'dmix etl shard' makes one."
            if corpora
            else "No corpus yet: start with 'dmix etl classify'."
        )
        parts.append(tag("p", hint, class_="note"))
    return Section(anchor="data", title="Data", content=join(parts), panels=tuple(panels))


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Settings and totals of a dataset, by name."""
    tail = sum(stream.tail_tokens for stream in dataset.streams)
    return {
        "Id": dataset.dataset,
        "Corpora": ", ".join(dataset.corpora),
        "Taxonomy": dataset.taxonomy,
        "Tokenizer": dataset.tokenizer,
        "Tokens a sample": dataset.seq_len,
        "Seed": str(dataset.seed),
        "Tokens": sum(stream.tokens for stream in dataset.streams),
        "Tokens outside full samples": tail,
        "Created (UTC)": dataset.created_at,
    }


def place(panel: Panel) -> Markup:
    """Controls and empty boxes of a panel; the page's script draws into them."""
    controls = [
        tag(
            "fieldset",
            tag("legend", choice.label),
            *(
                tag(
                    "button",
                    text,
                    type="button",
                    data_value=value,
                    aria_pressed="true" if first == 0 else "false",
                )
                for first, (value, text) in enumerate(choice.options)
            ),
        )
        for choice in panel.choices
    ]
    boxes = [
        tag(
            "figure",
            tag("figcaption", figure.title),
            tag("div", class_="plot", role="img", aria_label=f"{figure.title}. {panel.note}"),
            tag("div", class_="legend"),
            data_figure=index,
        )
        for index, figure in enumerate(panel.figures)
    ]
    return tag(
        "section",
        tag("div", *controls, class_="controls") if controls else None,
        tag("div", *boxes, class_="figures" if len(boxes) > 1 else "figures single"),
        tag("p", panel.note, class_="note") if panel.note else None,
        class_="panel",
        id=panel.panel_id,
    )


def _folded(title: str, content: Markup) -> Markup:
    return tag("details", tag("summary", title), content)
