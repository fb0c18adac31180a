"""How long the commands of every day take: help, a question in SQL, a report, two documents, quickstart.

    python -m benchmarks.commands [--runs 50] [--only PATTERN] [--again] [--results FOLDER]

The warehouse is made up: 52 domains, a farm, and runs of 80 steps whose events are written as a run
writes them. `two-documents`, `spark` and `quickstart` start from nothing. Each command is a process of
its own. Its shortest time of some counts, on the clock and by the processor; the first question after
a change, which takes the runs into the catalog, is a row of its own. On a busy machine only the time of
the processor means something. Rows go into `benchmarks/results/commands-<machine>-<date>.json`.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.provenance import ROOT
from benchmarks.rows import add_row_options, measure
from tests.training.report.fixtures import add_run, paper_size

from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.taxonomy import FIELDS, NVIDIA_26, Taxonomy

REPEATS = 5
STEPS = 80
AIMS = {"help": 0.3, "sql": 0.6, "report": 3.0, "two-documents": 3.0, "spark": 12.0, "quickstart": 90.0}
"""Seconds on the clock that a command may take on an idle machine of two cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=50, help="runs of the warehouse")
    add_row_options(parser)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dmix-bench-") as folder:
        warehouse = warehouse_of(Path(folder), runs=given.runs)
        of = ("--warehouse", str(warehouse.root))
        commands = {
            "help": ("--help",),
            "sql": ("sql", "select count(*) from runs", *of),
            "report": ("report", "--run", "agent-1", "--out", f"{folder}/report.html", *of),
        }
        classify = ("etl", "classify", *two_documents(Path(folder)), "--warehouse")
        once = {
            "two-documents": (*classify, f"{folder}/two"),
            "spark": (*classify, f"{folder}/spark", "--master", "local[2]"),
            "quickstart": ("quickstart", "--out", f"{folder}/demo"),
        }
        rows = {
            "first-sql": partial(timed, commands["sql"], repeats=1),
            **{
                name: partial(timed, command, aim=AIMS[name], repeats=REPEATS)
                for name, command in commands.items()
            },
            **{name: partial(timed, command, aim=AIMS[name], repeats=1) for name, command in once.items()},
        }
        measure("commands", given, size={"runs": given.runs}, rows=rows)


def warehouse_of(folder: Path, *, runs: int) -> Warehouse:
    """52 domains, a farm, and so many finished runs."""
    warehouse = paper_size(folder)  # has two runs
    for number in range(2, runs):
        add_run(
            warehouse,
            f"agent-{number}",
            taxonomy=Taxonomy("nvidia-26", NVIDIA_26),
            steps=STEPS,
            step_samples=8000,
            concentration=0.35,
            seed=number,
        )
    return warehouse


def two_documents(folder: Path) -> tuple[str, ...]:
    """Options that name two documents of a line."""
    found: list[str] = []
    for field in FIELDS:
        path = folder / f"{field}.jsonl"
        path.write_text(json.dumps({"text": f"The court ruled on the {field}."}) + "\n")
        found += [f"--{field}", str(path)]
    return tuple(found)


def timed(command: tuple[str, ...], *, repeats: int, aim: float | None = None) -> dict[str, Any]:
    """Least seconds of a command, wall and processor."""
    wall, processor = [], []
    for _ in range(repeats):
        before, started = _children_seconds(), time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from dmix.cli.main import main; main()", *command],
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=True,
            capture_output=True,
        )
        wall.append(time.perf_counter() - started)
        processor.append(_children_seconds() - before)
    found: dict[str, Any] = {
        "wall_seconds": round(min(wall), 2),
        "processor_seconds": round(min(processor), 2),
    }
    return found if aim is None else {**found, "aim_seconds": aim}


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
