"""Updates the report during a run."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dmix.training.report.page.build import Report, write_report
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

DEFAULT_SECONDS = 15.0


def watch_report(
    warehouse: Warehouse,
    *,
    runs: Sequence[str] = (),
    out: Path | None = None,
    seconds: float = DEFAULT_SECONDS,
    progress: Callable[[str], None] = lambda line: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Writes the report again and again until none of its runs is under way; returns the last one.

    Every page is published whole. While a run is under way the page loads itself anew; the last
    one does not, and neither does the one that Ctrl-C leaves.

    Args:
        warehouse: What to report on.
        runs: As in `write_report`.
        out: As in `write_report`.
        seconds: Time between two pages.
        progress: Receives a line per page.
        sleep: Waits; the caller's Ctrl-C is expected here.

    Raises:
        InputError: If `seconds` is below 1.
        Others: As `write_report`.
    """
    if seconds < 1:
        raise InputError(f"--every is {seconds:g} seconds, expected 1 second or more")
    while True:
        try:
            report = write_report(warehouse, runs=runs, out=out, reload_seconds=seconds)
            progress(_line(report))
            if not report.running:
                return report
            sleep(seconds)
        except KeyboardInterrupt:
            return write_report(warehouse, runs=runs, out=out)


def _line(report: Report) -> str:
    if not report.running:
        return f"wrote {report.path}: all runs have ended"
    return f"wrote {report.path}: {', '.join(report.running)} still running"
