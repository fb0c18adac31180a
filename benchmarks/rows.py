"""The rows of a benchmark: each is written as soon as it is known, and measured once a commit."""

import argparse
import fnmatch
import json
import os
import platform
import queue
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, commit_of, machine_name


def add_row_options(parser: argparse.ArgumentParser) -> None:
    """The options that `measure` reads."""
    parser.add_argument("--only", default="*", metavar="PATTERN", help="rows that match, with * and ?")
    parser.add_argument("--again", action="store_true", help="also rows that this commit has")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the file")


def measure(
    benchmark: str,
    arguments: argparse.Namespace,
    *,
    size: Mapping[str, float],
    rows: Mapping[str, Callable[[], dict[str, Any]]],
) -> None:
    """Measures the rows that are missing and prints all, as JSON.

    Args:
        benchmark: First part of the name of the file.
        arguments: Parsed, with the options of `add_row_options`.
        size: What a row's figures depend on; a file of another size or commit is begun anew.
        rows: What to measure, by name. Figures get the load before and the seconds that they took.
    """
    path = arguments.results / f"{benchmark}-{machine_name()}-{datetime.now(UTC):%Y-%m-%d}.json"
    key = {"commit": commit_of(), **size}
    found = json.loads(path.read_text()) if path.is_file() else {}
    if {name: found.get(name) for name in key} != key:
        found = {**key, "python": platform.python_version(), "rows": {}}
    for name, row in rows.items():
        if not fnmatch.fnmatch(name, arguments.only) or (name in found["rows"] and not arguments.again):
            continue
        load, started = round(os.getloadavg()[0], 1), time.perf_counter()
        figures = row()
        spent = round(time.perf_counter() - started, 1)
        found["rows"][name] = {**figures, "load_before": load, "seconds": spent}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(found, indent=1) + "\n")
        print(f"{name}: {json.dumps(figures)} ({spent} s)", file=sys.stderr)
    print(json.dumps(found, indent=1))


def answer_of(child: Any, answers: Any) -> Any:
    """What a process puts into a queue, however busy the machine is.

    Args:
        child: The process, started.
        answers: The queue.

    Raises:
        RuntimeError: If the process ends without an answer.
    """
    while True:
        ended = not child.is_alive()
        try:
            answer = answers.get(timeout=1)
        except queue.Empty:
            if ended:
                raise RuntimeError(f"a measuring process ended with exit code {child.exitcode}") from None
        else:
            child.join()
            return answer
