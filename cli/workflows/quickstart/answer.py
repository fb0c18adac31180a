"""What the runs of the quickstart show, and what they cannot."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.cli.workflows.quickstart import sizes
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.training.evaluation.verdicts import Group
    from dmix.training.report.queries.run_facts import Run
    from dmix.training.run.summary import RunSummary


def answer_result(runs: dict[str, list["RunSummary"]], report: Path, warehouse: Warehouse) -> Result:
    """Which controller was best, a row per controller, and what such small runs cannot show."""
    from dmix.training.report.page.summary import answer_text, natural_differences, on_other_items
    from dmix.training.report.queries.judged import largest_comparison

    found, pool = _read(runs, warehouse)
    judged = {run.run_id: on_other_items(run, warehouse.root, pool) for run in found}
    natural = natural_differences(found, warehouse.root, pool)
    groups, answer = largest_comparison(found), answer_text(found, judged, natural, pool)
    columns, rows = comparison(runs)
    note = size_note(groups, next(iter(runs.values()))[0])
    table = [dict(zip(columns, row, strict=True)) for row in rows]
    plan = next((run.config["promise"]["note"] for run in found if run.config.get("promise")), "")
    facts = {
        "answer": answer,
        "plan": plan,
        "note": note,
        "report": str(report),
        "warehouse": str(warehouse.root),
    }
    result = Result({**facts, "runs": table}, runs)
    result.table(columns, rows, title="Scores after the run, nats per token (mean over seeds)")
    result.line(answer)
    if plan:
        result.line(f"About the plan: {plan}")
    query = "SELECT * FROM domain_tokens"
    result.line(
        f"to query the catalog: dmix sql --warehouse {shlex.quote(str(warehouse.root))} {shlex.quote(query)}"
    )
    result.line(note)
    return result


def _read(runs: dict[str, list["RunSummary"]], warehouse: Warehouse) -> "tuple[list[Run], list[Run]]":
    """The runs as the report reads them, and with them all that they can be compared with."""
    from dmix.training.report.queries.judged import with_comparable
    from dmix.training.report.queries.run_facts import read_run
    from dmix.warehouse_schema.catalog.catalog import Catalog

    with Catalog.open_reader(warehouse) as catalog:
        found = [read_run(catalog, summary.run_id) for of in runs.values() for summary in of]
        return found, with_comparable(catalog, found)


def size_note(groups: "list[Group]", run: "RunSummary") -> str:
    """What these runs cannot show, and what would."""
    from dmix.training.evaluation.verdicts import seeds_that_suffice

    seeds = max((len(group.utilities) for group in groups), default=1)
    needed = seeds_that_suffice(groups)
    if needed is None:
        seeds_note = "To measure the noise, use at least two seeds"
    elif needed > seeds:
        seeds_note = (
            f"To distinguish the two best controllers, use about {num_text(needed, 'seed')}; {seeds} ran"
        )
    else:
        seeds_note = (
            f"{num_text(seeds, 'seed')} distinguish the two best controllers, but only on this text and at "
            "this size"
        )
    return (
        f"This demonstration proves nothing about controllers. A model of {sizes.PARAMETERS / 1e6:.1f} "
        f"million weights learns little from {num_text(sizes.BASE_TOKENS, 'token')}, and "
        f"{num_text(run.tokens, 'token')} per "
        f"run are few. {seeds_note}. For a real comparison, use your own text and a checkpoint of 100 "
        "million weights or more: dmix init --data FOLDER --model PATH OUT"
    )


def comparison(runs: dict[str, list["RunSummary"]]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the closing table, a row per controller.

    Args:
        runs: Summaries of runs over the same objectives, by controller.
    """
    objectives = next(iter(runs.values()))[0].objectives

    def mean(summaries: list["RunSummary"], value: Callable[["RunSummary"], float]) -> float:
        return sum(map(value, summaries)) / len(summaries)

    columns = ["controller", *objectives, "source tokens", "target tokens", "seeds"]
    rows: list[list[Any]] = []
    first = next(iter(runs.values()))[0]
    rows.append(["(before)", *first.feedback_TD[0].tolist(), None, None, None])
    for controller, summaries in runs.items():
        scores = [
            mean(summaries, lambda s, i=i: float(s.feedback_TD[-1, i]))  # type: ignore[misc]
            for i in range(len(objectives))
        ]
        source = mean(summaries, lambda s: s.source_tokens)
        target = mean(summaries, lambda s: s.tokens - s.source_tokens)
        name = controller.partition(":")[0]
        rows.append([name, *scores, round(source), round(target), len(summaries)])
    return columns, rows
