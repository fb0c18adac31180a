"""How long a report of the paper's size takes to open: 52 domains, a run of 80 steps, its farm.

    python -m benchmarks.report [--out FILE.json]

Writes the report of a made-up warehouse and opens it in a headless Chromium, the first time in a
fresh browser. Open means that figures are drawn. Needs Chromium on the PATH.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from benchmarks.provenance import commit_of, machine_name
from tests.training.report.browser import Browser
from tests.training.report.fixtures import paper_size

from dmix.training.report import write_report
from dmix.warehouse_schema.catalog.sync import sync

OPENINGS = 4
DRAWN = "document.querySelectorAll('.plot .main-svg').length > 0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the figures to this JSON file")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        warehouse = paper_size(Path(folder))
        sync(warehouse)
        report = write_report(warehouse, runs=["agent-1"], out=Path(folder) / "report.html").path
        with Browser() as browser:
            seconds = [_opened(browser, report) for _ in range(OPENINGS)]
        facts = {
            "commit": commit_of(),
            "machine": machine_name(),
            "load_before": round(load, 2),
            "megabytes": round(report.stat().st_size / 1e6, 2),
            "first_seconds": seconds[0],
            "later_seconds": seconds[1:],
        }
    text = json.dumps(facts, indent=1)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


def _opened(browser: Browser, report: Path) -> float:
    started = time.perf_counter()
    browser.open(report)
    browser.wait_for(DRAWN)
    return round(time.perf_counter() - started, 2)


if __name__ == "__main__":
    main()
