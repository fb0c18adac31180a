"""`dmix report`: one HTML file about runs and their data."""

from pathlib import Path

import click

from dmix.cli.options import config_option, json_option, warehouse_option
from dmix.cli.output import say, show_json
from dmix.warehouse_schema.layout import Warehouse


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
@json_option
def report(
    config: str | None, warehouse: Warehouse, runs: tuple[str, ...], out: Path | None, as_json: bool
) -> None:
    """Write one HTML file about runs and their data.

    The file opens without a network: mixture and feedback over steps, final scores, events and
    the domains of the data. A run under way is shown as far as it went.

    Example: dmix report --run agent-1 --run natural-1 --out report.html
    """
    from dmix.training.report import write_report

    written = write_report(warehouse, runs=runs, out=out)
    if as_json:
        show_json({"path": str(written.path), "runs": list(written.runs), "bytes": written.size_bytes})
        return
    count = len(written.runs)
    say(f"report on {count} run{'' if count == 1 else 's'}, {written.size_bytes / 1e6:.1f} MB")
    click.echo(written.path)
