"""Long fault and property runs, one small unit after the other: `make soak`.

    python -m tests.soak [--list] [--only PATTERN] [--again] [--results FOLDER]

Every unit leaves one dated row in `benchmarks/results/soak-<machine>-<date>.jsonl`, which names the
commit, also when it fails. Units that passed on this commit and machine are not run again, so a
soak that was cut off goes on where it was. Properties are tried on 1,000 examples, or on as many as
the environment variable DMIX_EXAMPLES says. A folder of tests adds units of its own by a file
`tests/<folder>/soak_<topic>.py` with a list `UNITS`.
"""

import argparse
import fnmatch
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.provenance import RESULTS, ROOT, commit_of, machine_name

EXAMPLES = os.environ.get("DMIX_EXAMPLES", "1000")


@dataclass(frozen=True)
class Unit:
    """One thing that holds, or does not.

    Attributes:
        name: Words with slashes; the unit is known by it.
        run: Gets an empty folder, returns facts for the row, raises if it does not hold.
    """

    name: str
    run: Callable[[Path], dict[str, Any]]


class SoakError(Exception):
    """What a unit was to show does not hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="name the units and whether they passed")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="units that match, with * and ?")
    parser.add_argument("--again", action="store_true", help="also those that passed on this commit")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    arguments = parser.parse_args()
    machine = machine_name()
    done = passed_units(arguments.results, commit=commit_of(ROOT), machine=machine)
    chosen = [unit for unit in all_units() if fnmatch.fnmatch(unit.name, arguments.only)]
    if arguments.list:
        for unit in chosen:
            print(f"{'passed' if unit.name in done else 'to do ':6} {unit.name}")
        return 0
    failed = []
    for unit in chosen:
        if unit.name in done and not arguments.again:
            print(f"passed before: {unit.name}", file=sys.stderr)
            continue
        row = {"commit": commit_of(ROOT), "machine": machine, **run_unit(unit)}
        path = arguments.results / f"soak-{machine}-{row['started_at'][:10]}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        verdict = "passed" if row["passed"] else "FAILED"
        print(f"{verdict} in {row['seconds']:.0f} s: {unit.name}", file=sys.stderr)
        if not row["passed"]:
            failed.append(unit.name)
            print(row["error"], file=sys.stderr)
    return 1 if failed else 0


def all_units() -> list[Unit]:
    """The units of every folder of tests, then the properties, then the slow tests."""
    units: list[Unit] = []
    for path in sorted(ROOT.glob("tests/*/soak_*.py")):
        module = importlib.import_module(f"tests.{path.parent.name}.{path.stem}")
        units += module.UNITS
    for path in sorted(ROOT.glob("tests/**/test_*.py")):
        content, name = path.read_text(encoding="utf-8"), str(path.relative_to(ROOT))
        if "DMIX_EXAMPLES" in content:
            units.append(Unit(f"properties/{name}", pytest_unit(name, "-m", "not slow")))
        if "mark.slow" in content:
            units.append(Unit(f"slow/{name}", pytest_unit(name, "-m", "slow")))
    names = [unit.name for unit in units]
    assert len(set(names)) == len(names), "two units have the same name"
    return units


def pytest_unit(*arguments: str) -> Callable[[Path], dict[str, Any]]:
    """A unit that runs pytest with many examples a property."""

    def run(folder: Path) -> dict[str, Any]:
        command = [sys.executable, "-m", "pytest", *arguments, "-o", "timeout=7200", "-p", "no:cacheprovider"]
        command += ["--basetemp", str(folder / "pytest")]
        environment = {**os.environ, "DMIX_EXAMPLES": EXAMPLES}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        summary = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
        if done.returncode:
            said = done.stdout[-3000:] + done.stderr[-1000:]
            raise SoakError(f"pytest ended with {done.returncode}:\n{said}")
        return {"examples": int(EXAMPLES), "pytest": summary}

    return run


def run_unit(unit: Unit) -> dict[str, Any]:
    """The row of a unit, which is run in a folder that is gone afterwards."""
    row: dict[str, Any] = {"unit": unit.name, "started_at": datetime.now(UTC).isoformat(timespec="seconds")}
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="dmix-soak-") as folder:
            row |= {"passed": True, "details": unit.run(Path(folder))}
    except Exception as error:
        said = str(error) if isinstance(error, SoakError) else traceback.format_exc()
        row |= {"passed": False, "error": said}
    return {**row, "seconds": round(time.monotonic() - started, 1)}


def passed_units(folder: Path, *, commit: str, machine: str) -> set[str]:
    """Names of the units whose last row of this commit says that they passed."""
    last: dict[str, bool] = {}
    for path in sorted(folder.glob(f"soak-{machine}-*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if row["commit"] == commit:
                last[row["unit"]] = row["passed"]
    return {name for name, passed in last.items() if passed}


if __name__ == "__main__":
    # the module that the units import, and not a second copy of it with an error class of its own
    sys.exit(importlib.import_module("tests.soak").main())
