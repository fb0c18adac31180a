"""`dmix mix plan`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    Count,
    dataset_option,
    settings_options,
    warehouse_options,
)
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.cli.workflows.effects.mixture_files import FORMATS
from dmix.mixing.effects.settings import PlanRules


@click.command()
@warehouse_options
@dataset_option
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="Name of the effects to use. 'dmix mix probe' prints this name. Repeat the flag to combine "
    "effects from counts with effects measured on a model. Default: the newest effects of the dataset.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=OutputPath(dir_okay=False),
    help="File to write the mixture to.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="dmix",
    show_default=True,
    help="Trainer that will read the file. For dmix, pass the file to 'dmix train --controller static:FILE'.",
)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the weights and scales of the objectives. Default: the file that "
    "'dmix mix probe' used.",
)
@click.option(
    "--samples",
    type=Count(min=1),
    help="Number of samples that the run will draw. Default: all samples of the dataset.",
)
@click.option(
    "--max-passes",
    type=Count(min=1),
    default=4,
    show_default=True,
    help="Maximum number of passes through the samples of each domain.",
)
@settings_options(PlanRules, parameter="rules")
@click.option(
    "--check",
    is_flag=True,
    help="Check plans by training: six runs of --model, with --samples samples each. Four runs use plans "
    "with different values of --pull; two runs use natural mixing. If the best plan gains at "
    "least two standard errors over natural mixing, dmix writes this plan. Otherwise, dmix writes "
    "natural mixing.",
)
@click.option(
    "--second-round",
    is_flag=True,
    help="After --check, measure the effects of up to eight domains again, near the mixture that the "
    "check chose. dmix makes a short run per domain, with more text of the domain than the chosen mixture "
    "has. A short run draws a quarter of --samples. Then dmix makes a second plan, with a KL divergence of "
    "at most 0.2 nats from the chosen mixture. No run checks the second plan.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model that --check trains: a model file (.yaml), a checkpoint folder, the name of a model in the "
    "warehouse, or a hub id.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Training file (YAML) for the runs of --check.",
)
@calls_workflow
def plan() -> Workflow:
    """Write the mixture with the largest predicted gain to a file.

    The command prints each domain's share and number of passes. It also prints the predicted gain of each
    objective (goal) over natural mixing, with an interval. Natural mixing draws every domain in proportion
    to its size. The interval covers only the random choice of evaluation items. The method of 'dmix mix
    probe' itself may be wrong about your model. To test the plan with runs, use --check. If the effects of
    'dmix mix probe' are smaller than their noise, the plan is natural mixing.

    Example: dmix mix plan --out mixture.yaml
    """
    from dmix.cli.workflows.effects.planning import plan_from_effects

    return plan_from_effects
