"""The table of the page *A real model*, made of rows alone."""

import json
from pathlib import Path
from statistics import mean
from typing import Any

Row = dict[str, Any]


def write_table(results: Path, docs: Path) -> None:
    """Writes `real-model.md` into `docs` from all files of rows in `results`."""
    rows: list[Row] = []
    for path in sorted(results.glob("*.jsonl")):
        rows += [{**json.loads(line), "size": path.stem} for line in path.read_text().splitlines()]
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "real-model.md").write_text(table_text(rows))


def table_text(rows: list[Row]) -> str:
    """The page of figures."""
    if not rows:
        return "No rows yet: run `make real-model`.\n"
    parts = [_runs(rows), _evaluations(rows), _written(rows), _stages(rows)]
    return "\n".join(part for part in parts if part)


def _runs(rows: list[Row]) -> str:
    judged = {
        row["stage"].split("/", 1)[1]: row["scores"] for row in rows if row["stage"].startswith("judge/")
    }
    lines = []
    for row in rows:
        kind, _, run = row["stage"].partition("/")
        if kind != "run":
            continue
        summary = row["summary"]
        before, after = judged.get(f"{run.split('-')[0]}/start"), judged.get(run)
        for name, scores in _scores(summary).items():
            judge = ["", ""] if not before or not after else [f"{before[name]:.3f}", f"{after[name]:.3f}"]
            lines.append(
                [row["size"], run, name, f"{scores[0]:.3f}", f"{scores[1]:.3f}", *judge,
                 f"{summary['tokens']:,}", f"{row['seconds'] / 60:.1f}", row["machine"]]
            )  # fmt: skip
    head = ["size", "run", "objective", "feedback before", "after", "judges before", "after", "tokens",
            "minutes", "machine"]  # fmt: skip
    return "" if not lines else "### Scores, nats per token\n\n" + _markdown(head, lines)


def _scores(summary: Row) -> dict[str, tuple[float, float]]:
    before, after = summary["scores_before"], summary["scores_after"]
    return {name: (before[name], after[name]) for name in before}


def _evaluations(rows: list[Row]) -> str:
    lines = [
        [row["size"], row["stage"].split("/", 1)[1], found["task"], found["metric"], f"{found['value']:.3f}",
         str(found["items"])]
        for row in rows
        if row["stage"].startswith("eval/")
        for found in row["evaluations"]
    ]  # fmt: skip
    head = ["size", "model", "task", "metric", "value", "items"]
    return "" if not lines else "### Local tasks\n\n" + _markdown(head, lines)


def _written(rows: list[Row]) -> str:
    said = [
        f"- Written after training, by plain transformers: `{row['wrote']}`" for row in rows if "wrote" in row
    ]
    said += [f"- Another tokenizer: exit {row['exit']}, `{row['said']}`" for row in rows if "said" in row]
    return "" if not said else "### Words\n\n" + "\n".join(said) + "\n"


def _stages(rows: list[Row]) -> str:
    lines = [
        [row["size"], row["stage"], f"{row['seconds']:.0f}", f"{row['core_seconds']:.0f}",
         f"{row['load_before']}", row["date"], row["commit"]]
        for row in rows
    ]  # fmt: skip
    total = sum(row["core_seconds"] for row in rows) / 60
    head = ["size", "stage", "seconds", "of a core", "load before", "date", "commit"]
    loads = mean(row["load_before"] for row in rows)
    return (
        "### Time\n\n"
        + _markdown(head, lines)
        + f"\nIn all {total:.0f} minutes of a core, mean load of the machine {loads:.1f}.\n"
    )


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
