"""`dmix report`: one HTML file about runs and their data."""

from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, json_option, warehouse_options
from dmix.cli.show.output import say
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.result import show_result
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@warehouse_options
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="ID",
    help="Run to show. Repeat the flag for several runs. Default: the newest runs.",
)
@click.option(
    "--out",
    type=OutputPath(dir_okay=False),
    metavar="FILE.html",
    help="HTML file to write. Default: report.html in the warehouse or, if you give one --run, in the "
    "folder of this run.",
)
@click.option(
    "--watch",
    is_flag=True,
    help="Write the file again and again until all runs in it have ended. Ctrl-C stops earlier.",
)
@click.option(
    "--every",
    type=FiniteFloat(),
    default=15.0,
    show_default=True,
    metavar="SECONDS",
    help="Number of seconds between two updates with --watch.",
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
    """Write a report about runs and their data: one HTML file.

    The file needs no network. The page shows mixtures, scores and losses by step, final scores and events.
    The page also shows the domains of the data, and the trajectories (series of mixtures) from which agents
    learn. For an unfinished run, the page shows the steps so far. With --watch, the page reloads itself
    until the run ends.

    Example: dmix report --run agent-1 --run natural-1 --out report.html
    """
    from dmix.cli.workflows.runs.report import report_runs

    result = report_runs(warehouse, runs=runs, out=out, watch=watch, every=every, progress=say)
    show_result(result, as_json=as_json)
    if not as_json:
        click.echo(result["path"])
