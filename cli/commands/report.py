"""`dmix report`: one HTML file about runs and their data."""

from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, config_option, json_option, warehouse_option
from dmix.cli.show.output import say, show_json
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@config_option
@warehouse_option
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="ID",
    help="Run to show, may be repeated; the newest ones by default.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.html",
    help="File to write; by default report.html in the run's folder for one --run, else in the warehouse.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Write the file again and again until no run in it is under way; Ctrl-C ends it sooner.",
)
@click.option(
    "--every",
    type=FiniteFloat(),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between two pages of --watch.",
)
@json_option
def report(
    *,
    config: str | None,
    warehouse: Warehouse,
    runs: tuple[str, ...],
    out: Path | None,
    watch: bool,
    every: float,
    as_json: bool,
) -> None:
    """Write one HTML file about runs and their data.

    The file opens without a network: mixture, feedback and losses over steps, final scores,
    events, trajectories and the domains of the data. A run under way is shown as far as it went;
    with --watch the page loads itself anew while it goes on.

    Example: dmix report --run agent-1 --run natural-1 --out report.html
    """
    from dmix.training.report import watch_report, write_report

    if watch:
        written = watch_report(warehouse, runs=runs, out=out, seconds=every, progress=say)
    else:
        written = write_report(warehouse, runs=runs, out=out)
    if as_json:
        show_json(
            {
                "path": str(written.path),
                "runs": list(written.runs),
                "running": list(written.running),
                "bytes": written.size_bytes,
            }
        )
        return
    count = len(written.runs)
    say(f"report on {count} run{'' if count == 1 else 's'}, {written.size_bytes / 1e6:.1f} MB")
    click.echo(written.path)
