"""`dmix report`: one HTML file about runs and their data."""

from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, config_option, json_option, warehouse_option
from dmix.cli.show.output import say
from dmix.cli.show.result import show_result
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
    from dmix.cli.workflows.runs.report import report_runs

    result = report_runs(warehouse, runs=runs, out=out, watch=watch, every=every, progress=say)
    show_result(result, as_json=as_json)
    if not as_json:
        click.echo(result["path"])
