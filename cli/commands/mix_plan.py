"""`dmix mix plan`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.cli.workflows.effects.mixture_files import FORMATS
from dmix.mixing.effects.settings import PlanRules


@click.command()
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--probe",
    "probes",
    multiple=True,
    metavar="NAME",
    help="Name of the effects to plan from, as 'dmix mix probe' printed it. Repeat the flag to"
    " combine effects by counts with effects measured on a model. Default: the dataset's"
    " newest effects.",
)
@click.option(
    "--out",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Mixture file to write.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="dmix",
    show_default=True,
    help="Trainer that will read the file. 'dmix': give the file to --controller static:FILE.",
)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the weights and scales to use. Default: the file that 'dmix mix probe' used.",
)
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Number of samples that the run will draw. Default: all samples of the dataset.",
)
@click.option(
    "--max-passes",
    type=click.IntRange(min=1),
    default=4,
    show_default=True,
    help="Maximum number of passes through each domain.",
)
@settings_options(PlanRules, parameter="rules")
@click.option(
    "--check",
    is_flag=True,
    help="Test the plan with six runs of --samples samples on --model: plans at four values of"
    " --pull, and natural mixing twice. The command takes the best plan if it is ahead of"
    " natural mixing by two standard errors; otherwise it takes natural mixing.",
)
@click.option(
    "--second-round",
    is_flag=True,
    help="After --check, probe up to eight domains around the mixture that the check took,"
    " each with a quarter of a run. Then plan once more, within a KL divergence of 0.2"
    " from that mixture. No run checks the second plan.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model of the check runs: model file (.yaml), checkpoint folder, model of the warehouse, or hub id.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with the training settings of the check runs.",
)
@json_option
@dry_run_option
@calls_workflow
def plan() -> Workflow:
    """Write the mixture with the largest predicted gain, for dmix or another trainer.

    The command prints each domain's share and number of passes, and each objective's predicted gain
    over natural mixing with an interval. The interval covers only the sampling of items; runs must
    show whether the estimator suits your model. If the effects are smaller than their noise, the plan
    is natural mixing.

    Example: dmix mix plan --out mixture.yaml
    """
    from dmix.cli.workflows.effects.planning import plan_from_effects

    return plan_from_effects
