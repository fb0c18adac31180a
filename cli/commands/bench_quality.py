"""`dmix bench quality`: the comparison of controllers on real text."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    Count,
    FiniteFloat,
    config_option,
    master_option,
)
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.cli.workflows.bench.quality import STAGES


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder with corpora and evaluation items. Paths in setting files are relative to this folder.",
)
@click.option(
    "--setting",
    "setting_names",
    multiple=True,
    metavar="NAME|FILE",
    help="Setting file, or its name in the folder benchmarks/quality. Repeat the flag for several "
    "settings.  [default: origin, field]",
)
@click.option(
    "--tier",
    type=click.Choice(("smoke", "small", "full")),
    default="small",
    show_default=True,
    help="Size of the comparison. 'smoke' takes minutes. 'small' takes hours on two cores. 'full' is for "
    "a cluster.",
)
@click.option(
    "--stage",
    "stages",
    multiple=True,
    type=click.Choice(STAGES),
    help="Stage to run. Repeat the flag for several stages.  [default: headroom, farm and screening]",
)
@click.option(
    "--work",
    type=OutputPath(file_okay=False),
    default=Path("quality-work"),
    show_default=True,
    metavar="DIR",
    help="Working folder for text, warehouse and runs. You can delete it; dmix then makes it again.",
)
@click.option(
    "--results",
    type=OutputPath(file_okay=False),
    metavar="DIR",
    help="Folder for tables and base models. Do not delete this folder.  [default: "
    "benchmarks/results/quality/TIER]",
)
@click.option(
    "--workers",
    type=Count(min=1, most=1024),
    default=2,
    show_default=True,
    help="Number of processes. Each process uses one thread.",
)
@click.option(
    "--hours",
    type=FiniteFloat(min=0),
    help="Time limit in hours. After the limit, no new run starts. Default: no limit.",
)
@master_option
@calls_workflow
def quality() -> Workflow:
    """Compare controllers on real text.

    There are four stages. 'headroom' measures the largest possible gain. 'farm' collects runs from which
    controllers learn. 'screening' runs all controllers, and 'confirmation' tests the best controllers again.
    dmix stores every finished run, so you can stop the command and start it again. The stage 'confirmation'
    runs only if you name it. It also needs a committed, unchanged protocol.yaml (the rules of the comparison)
    beside the setting file.

    Settings with 'protocol: 3' have other stages. Stage 'yardstick' decides which objectives (goals) count.
    Stage 'effects' compares the predictions of 'dmix mix probe' (by counts and gradients) with runs of new
    mixtures. Stage 'probes' trains short runs and adds their predictions to this comparison. Stage 'rivals'
    makes the runs that other methods learn from, and 'online' tests methods that change mixtures during a
    run. The stage 'confirmation' of these settings needs a committed protocol-3.yaml.

    A world is a setting whose corpora, amount of text, learning rate, number of steps, base model and
    objectives are drawn at random. Settings with worlds have the stage 'worlds'. Four of them also have the
    stage 'rungs'. It tests two methods: a check of the plan by training runs, and plans from probes.

    Example: dmix bench quality --data ../data --setting origin --stage headroom --hours 2 --dry-run
    """
    from dmix.cli.workflows.bench.quality import compare_controllers

    return compare_controllers
