"""`dmix bench quality`: the comparison of controllers on real text."""

from pathlib import Path

import click

from dmix.cli.show.options import FiniteFloat, config_option, dry_run_option, json_option, master_option
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.cli.workflows.bench.quality import STAGES


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Data folder with corpora and evaluation items; paths in setting files are relative to it.",
)
@click.option(
    "--setting",
    "setting_names",
    multiple=True,
    metavar="NAME|FILE",
    help="Setting file, or its name under benchmarks/quality. Repeat the flag for several.  [default:"
    " origin, field]",
)
@click.option(
    "--tier",
    type=click.Choice(("smoke", "small", "full")),
    default="small",
    show_default=True,
    help="Size of the comparison. 'smoke': minutes. 'small': hours on two cores. 'full': for a cluster.",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Stage to run. Repeat the flag for several.  [default: headroom, farm and screening]",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("quality-work"),
    show_default=True,
    metavar="DIR",
    help="Working folder for text, warehouse and runs; dmix can rebuild it.",
)
@click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for tables and base models. Do not delete it.  [default: benchmarks/results/quality/TIER]",
)
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Number of single-threaded processes.",
)
@click.option("--hours", type=FiniteFloat(min=0), help="Time limit in hours; after it, no new run starts.")
@master_option
@json_option
@dry_run_option
@calls_workflow
def quality() -> Workflow:
    """Compare controllers on real text: headroom study, farm, screening, one confirmation.

    Every finished run is stored, so you can stop the command, start it again, and read the tables at
    any time. The confirmation runs only on request. It needs a committed, unchanged protocol.yaml
    beside the setting file. Settings of the third protocol have three more stages.
    Stage 'yardstick' decides which objectives count. Stage 'effects' compares the predictions of counts
    and gradients with runs of fresh mixtures. Stage 'probes' trains short runs; 'effects' then compares
    their predictions, too. Settings with worlds have only the stage 'worlds'.

    Example: dmix bench quality --data ../data --setting origin --stage headroom --hours 2 --dry-run
    """
    from dmix.cli.workflows.bench.quality import compare_controllers

    return compare_controllers
