"""One HTML file about runs and their data: `dmix report`."""

from collections.abc import Sequence
from pathlib import Path

from dmix.cli.show.notebook import in_notebook
from dmix.cli.show.result import Result
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text, size_text


def report_runs(
    warehouse: Warehouse,
    *,
    runs: Sequence[str] = (),
    out: Path | None = None,
    watch: bool = False,
    every: float = 15.0,
    progress: Progress,
) -> Result:
    """Writes one HTML file about runs and their data.

    Args:
        warehouse: Where the runs are.
        runs: Runs to show; the newest ones when left out.
        out: File to write; in the folder of the one run, else in the warehouse, when left out.
        watch: Write the file again and again until no run in it is under way.
        every: Seconds between two pages of `watch`.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such run.
    """
    from dmix.training.report import watch_report, write_report

    if watch:
        written = watch_report(warehouse, runs=runs, out=out, seconds=every, progress=progress)
    else:
        written = write_report(warehouse, runs=runs, out=out)
    facts = {
        "path": str(written.path),
        "runs": list(written.runs),
        "running": list(written.running),
        "bytes": written.size_bytes,
    }
    result = Result(facts, written)
    count = len(written.runs)
    result.line(f"report on {num_text(count, 'run')}, {size_text(written.size_bytes)}")
    if in_notebook():  # the command prints it on stdout
        result.line(str(written.path))
    return result
