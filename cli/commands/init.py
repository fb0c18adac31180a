"""`dmix init`."""

from pathlib import Path

import click

from dmix.cli.show.options import Count, FiniteFloat, config_option, settings_options
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.templates.settings import TextSettings


@click.command()
@config_option
@click.argument("out", type=OutputPath(file_okay=False))
@click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder of your text, with sub-folders whose names start with 'source' and 'target'.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Checkpoint to train. Default: a small model from random weights.",
)
@click.option(
    "--hours",
    type=FiniteFloat(),
    help="Time limit in hours for one training run on this machine. Default: 1.",
)
@click.option(
    "--steps",
    type=Count(min=1, most=2**31 - 1),
    help="Number of steps per run. Default: 16, or fewer if scoring after each step takes too long.",
)
@click.option(
    "--update",
    is_flag=True,
    help="Give the project in OUT a new --model, --hours or --steps. The other settings keep their values. "
    "If you edited a file, dmix keeps your file and writes the new text to FILE.new. dmix also keeps "
    "earlier runs. --dry-run shows the changes.",
)
@settings_options(TextSettings)
@calls_workflow
def init() -> Workflow:
    """Make a project folder OUT for a first run on your own text.

    'source' is text like the pre-training text of the model. 'target' is text that the model should learn.
    dmix holds out some text as evaluation items. dmix also checks the model, chooses sizes that fit the
    machine, and estimates the time of each step. The command trains nothing. Read the script OUT/run.sh,
    then start it.

    Example: dmix init --data my-text --hours 0.5 my-project
    """
    from dmix.cli.workflows.start.init import init_project

    return init_project
