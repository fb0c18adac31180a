"""`dmix quickstart`: the whole chain, small."""

from pathlib import Path

import click

from dmix.cli.show.options import Count, config_option, json_option, master_option
from dmix.cli.show.output import say
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.result import show_result
from dmix.warehouse_schema.progress import signs_of_life


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of your own text, with sub-folders whose names start with 'source' and 'target'. "
    "Default: dmix generates text.",
)
@click.option(
    "--out",
    type=OutputPath(file_okay=False),
    default=Path("demo"),
    show_default=True,
    metavar="DIR",
    help="Folder for input files, warehouse and report.",
)
@click.option(
    "--seeds",
    type=Count(min=1),
    default=2,
    show_default=True,
    help="Number of runs per controller.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Train an agent on the scores of small models (proxies). Default: use dmix-base, which "
    "needs no training.",
)
@master_option
@json_option
def quickstart(
    *,
    data: Path | None,
    out: Path,
    seeds: int,
    full: bool,
    master: str | None,
    as_json: bool,
    config: str | None,
) -> None:
    """Try dmix: run every step at small size, from text to report.

    The command takes minutes on two cores. If you interrupt the command, run it again to resume. With --full,
    dmix trains many small models (proxies) under different mixtures (shares of the text domains). From the
    scores of these models, dmix then trains an agent, a network that chooses mixtures.

    Example: dmix quickstart --out demo
    """
    from dmix.cli.workflows.quickstart.chain import quickstart as run_chain

    with signs_of_life(say) as progress:
        result = run_chain(data=data, out=out, seeds=seeds, full=full, master=master, progress=progress)
    show_result(result, as_json=as_json)
    if not as_json:
        click.echo(result["report"])
