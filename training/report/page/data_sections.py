"""The parts of the page about data: corpora, datasets and their start state; farms."""

from collections.abc import Sequence
from typing import Any

from dmix.training.report.figures import data_figures, farm_figures
from dmix.training.report.figures.charts import Panel
from dmix.training.report.page import data_tables, tables
from dmix.training.report.page.parts import Section, note, panel_box
from dmix.training.report.page.templates import joined, part
from dmix.training.report.queries.data_facts import CorpusFacts, Dataset, StartState
from dmix.training.report.queries.farm_facts import FarmFacts

NO_CONTRASTS = "These trajectories have no feedback yet. To get feedback, run 'dmix mix collect'."


def farm_section(farm: FarmFacts) -> Section:
    """Trajectories of a set, what they cover, and what moved each objective."""
    prefix = f"set-{farm.set_name}"
    panels = [
        farm_figures.trajectories(farm, panel_id=f"{prefix}-paths"),
        farm_figures.covered(farm, panel_id=f"{prefix}-coverage"),
    ]
    if farm.contrasts["raw"]:
        panels.append(farm_figures.contrasts(farm, panel_id=f"{prefix}-contrasts"))
    parts: list[Any] = [tables.pairs_list(farm_facts(farm)), *(panel_box(panel) for panel in panels)]
    if not farm.contrasts["raw"]:
        parts.append(note(NO_CONTRASTS))
    return Section(
        anchor=prefix, title=f"Trajectories {farm.set_name}", content=joined(parts), panels=tuple(panels)
    )


def farm_facts(farm: FarmFacts) -> dict[str, Any]:
    """Size of a set, by name."""
    kinds = [farm_figures.group_name(path) for path in farm.paths]
    lengths = [len(path.target_T) - 1 for path in farm.paths]
    return {
        "Dataset": farm.dataset,
        "Trajectories": len(farm.paths),
        "Of these": ", ".join(f"{kinds.count(name):,} {name}" for name in dict.fromkeys(kinds)),
        "Most steps (M)": farm.steps,
        "Mean steps": f"{sum(lengths) / len(lengths):.1f}",
        "With feedback": f"{farm.scored:,}",
        "Varied proxies": farm.varied or None,
    }


def data_section(corpora: Sequence[CorpusFacts], datasets: Sequence[Dataset], lone: StartState) -> Section:
    """Corpora, and for every dataset its settings, domains and start state.

    Args:
        corpora: All corpora.
        datasets: Those to show.
        lone: What models were asked for without a dataset.
    """
    panels: list[Panel] = []
    parts: list[Any] = []
    if corpora:
        parts += [data_tables.corpora_table(corpora), note(corpora_note(corpora))]
    for dataset in datasets:
        title = f"Dataset {dataset.name or dataset.dataset}"
        prefix = f"dataset-{dataset.dataset}"
        parts += [part("heading", text=title, anchor=prefix), tables.pairs_list(dataset_facts(dataset))]
        if any(stream.documents for stream in dataset.streams):
            drawn = [data_figures.domain_sizes(dataset, panel_id=f"{prefix}-sizes")]
            drawn += _start_panels(dataset.start, prefix=prefix)
            panels += drawn
            parts += [*(panel_box(panel) for panel in drawn), data_tables.domain_table(dataset)]
    alone = _start_panels(lone, prefix="start")
    if alone:
        panels += alone
        parts += [
            part("heading", text="Start states of models without a dataset", anchor="start"),
            *(panel_box(panel) for panel in alone),
        ]
    if not datasets:
        hint = (
            "There is no dataset yet. To make a dataset, run 'dmix etl shard'."
            if corpora
            else "There is no corpus yet. To make a corpus, run 'dmix etl classify'."
        )
        parts.append(note(hint))
    return Section(anchor="data", title="Data", content=joined(parts), panels=tuple(panels))


def corpora_note(corpora: Sequence[CorpusFacts]) -> str:
    """What the counts of corpora mean, and which search has not been made."""
    counted = "Rejected documents have no domain, because dmix does not classify them."
    commands = {
        "duplicates": "To find copies, run 'dmix etl duplicates'.",
        "contamination": "To find evaluation items, run 'dmix etl contamination --environment FILE'.",
    }
    missing = [text for kind, text in commands.items() if any(kind not in c.found for c in corpora)]
    return " ".join([counted, *missing])


def _start_panels(start: StartState, *, prefix: str) -> list[Panel]:
    drawn = (
        data_figures.start_state(start, panel_id=f"{prefix}-start"),
        data_figures.convergence(start, panel_id=f"{prefix}-convergence"),
    )
    return [panel for panel in drawn if panel is not None]


def found_in(dataset: Dataset) -> str:
    """What was found in the corpora of a dataset, and what became of it; empty if nothing was found."""
    what = {"duplicates": "copies", "contamination": "documents with an evaluation item"}
    found = [
        f"{sum(counts.values()):,} {what[kind]} ({'left out' if kind in dataset.drops else 'kept'})"
        for kind, counts in sorted(dataset.found.items(), reverse=True)
        if counts
    ]
    return ", ".join(found)


def natural_share(dataset: Dataset) -> str | None:
    """Target samples among all samples of a dataset: the target share of a run of natural mixing."""
    samples = sum(stream.samples for stream in dataset.streams)
    target = sum(stream.samples for stream in dataset.streams if stream.field == "target")
    return f"{target / samples:.0%}" if samples else None


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Settings and totals of a dataset, by name."""
    tail = sum(stream.tail_tokens for stream in dataset.streams)
    return {
        "Id": dataset.dataset,
        "Corpora": ", ".join(dataset.corpora),
        "Taxonomy": dataset.taxonomy,
        "Tokenizer": dataset.tokenizer,
        "Tokens per sample": dataset.seq_len,
        "Seed": str(dataset.seed),
        "Tokens": sum(stream.tokens for stream in dataset.streams),
        "Target share of natural mixing": natural_share(dataset),
        "Tokens outside full samples": tail,
        "Found in its text": found_in(dataset),
        "Created (UTC)": dataset.created_at,
    }
