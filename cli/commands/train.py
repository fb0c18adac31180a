"""`dmix train` and `dmix train base`."""

from pathlib import Path
from typing import Any

import click

from dmix.cli.show.options import (
    Count,
    SectionedGroup,
    dataset_option,
    dry_run_option,
    json_option,
    settings_options,
    unscreened_option,
    warehouse_options,
    was_given,
)
from dmix.cli.show.output import say
from dmix.cli.show.result import show_result
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.training.model.settings import LOGGERS
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.progress import signs_of_life

_MODEL_HELP = "Model file (.yaml), checkpoint folder, model of the warehouse, or hub id."
_TRAINING_HELP = "Training file (YAML) with the training settings, or the config.yaml of a run."

# what a resumed run takes from the command line; everything else is in its configuration
_OF_A_RESUME = {
    "allow_unscreened",
    "back",
    "accept_changes",
    "config",
    "warehouse",
    "run_id",
    "resume",
    "loggers",
    "ranks",
    "as_json",
    "dry_run",
    "trust_controller",
}

_logger_option = click.option(
    "--logger",
    "loggers",
    multiple=True,
    type=click.Choice(LOGGERS),
    help="Logger to which Composer sends metrics. Repeat the flag for several loggers. This flag "
    "replaces the loggers of the training file. With --resume, it replaces the loggers of the run.",
)


_ranks_option = click.option(
    "--ranks",
    type=Count(min=1),
    help="Number of ranks (training processes) for the memory estimate of --dry-run. Default:"
    " the ranks of this launch.",
)


SECTIONS = {
    "Model and data": ("model", "dataset", "environment", "training", "warehouse", "config"),
    "Steering": ("agent", "controller", "guard", "shadow", "gradients_every"),
    "Size of the run": ("steps", "samples_per_step", "batch_size", "exhaustion", "max_passes", "seed"),
    "Name and resume": ("run_id", "resume", "back", "accept_changes", "trust_controller"),
    "Output": ("loggers", "ranks", "as_json", "dry_run"),
}


@click.group(cls=SectionedGroup, sections=SECTIONS, invoke_without_command=True)
@warehouse_options
@dataset_option
@click.option("--model", metavar="PATH|NAME|HUB-ID", help=_MODEL_HELP)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the objectives, or the config.yaml of a run.",
)
@click.option(
    "--agent",
    metavar="NAME|PATH",
    help="Agent that chooses the mixtures. 'dmix-base' uses the mixture with the best prediction from "
    "counts. 'effect[:NAME]' starts with the plan from the effects NAME, and corrects this plan by the "
    "scores of the run. You can also give the name or folder of a trained agent.",
)
@click.option(
    "--controller",
    metavar="NAME",
    help="Controller that chooses the mixtures, instead of --agent. One of: natural, naive, stratified, "
    "static:FILE, plan[:NAME], source-share:SHARE, linear:FROM-TO, cosine:FROM-TO, "
    "three-stage[:FROM-TO], odm, ado, aioli, sheared[:FILE], untrained[:SEED], effect[:NAME], "
    "mixmin[:NAME], skill-it[:NAME], replay:SET/TRAJECTORY, best-of:SET, regmix:SET, regmix-kl:SET, "
    "regmix-d:SET, schedule:SET, decision-transformer:SET[:QUANTILE], or python:MODULE:CLASS for "
    "your own class.",
)
@click.option("--run", "run_id", metavar="ID", help="Name of the run. Default: a name made from the time.")
@click.option(
    "--resume",
    is_flag=True,
    help="Resume --run from its newest checkpoint. You may change --steps. In --training, you may change "
    "learning_rate, checkpoints_kept, microbatch_size and rank_timeout. dmix records each change as an "
    "event, and refuses any other change.",
)
@click.option(
    "--trust-controller",
    is_flag=True,
    help="With --resume: run the code of the 'python:' controller in the run's config.yaml. You need "
    "this flag if you have never started a run with this code, for example if somebody else started the "
    "run. Read the code first.",
)
@click.option("--back", is_flag=True, help="With --resume: start from the second-newest checkpoint.")
@click.option(
    "--accept-changes",
    is_flag=True,
    help="With --resume: accept changed items, controller code or manifests of the dataset. dmix records "
    "the old and the new digest.",
)
@click.option("--training", metavar="FILE", type=click.Path(path_type=Path), help=_TRAINING_HELP)
@_logger_option
@settings_options(RunRequest, parameter="request")
@_ranks_option
@unscreened_option
@json_option
@dry_run_option
@click.pass_context
def train(context: click.Context, /, *, as_json: bool, config: str | None, **values: Any) -> None:
    """Train a model. Before each step, an agent or another controller chooses the mixture.

    A mixture is the share of each text domain. A step draws its samples under one mixture. For several
    GPUs, use the launcher of Composer: composer -n 8 -c dmix train --config run.yaml

    Example: dmix train --model model.yaml --environment environment.yaml --controller natural
    """
    if context.invoked_subcommand is not None:
        return
    from dmix.cli.workflows.runs.train import train_run

    given = {
        str(parameter.name): context.params.get(str(parameter.name))
        for parameter in context.command.params
        if parameter.name not in _OF_A_RESUME and was_given(context, str(parameter.name))
    }
    with signs_of_life(say) as progress:
        result = train_run(**values, given=given, progress=progress)
    if result is not None:
        show_result(result, as_json=as_json)


@train.command()
@warehouse_options
@dataset_option
@click.option("--model", required=True, metavar="PATH|HUB-ID", help=_MODEL_HELP)
@click.option(
    "--tokens", required=True, type=Count(min=1, most=2**50), help="Number of source tokens to train on."
)
@click.option("--name", required=True, help="Name of the model in the warehouse.")
@click.option("--training", metavar="FILE", type=click.Path(path_type=Path), help=_TRAINING_HELP)
@_logger_option
@_ranks_option
@calls_workflow
def base() -> Workflow:
    """Pre-train a base model on the source field only.

    Runs, and the small models of 'dmix mix collect', can start from this model. If you interrupt the
    command, run it again to resume. If the model is finished, the command does nothing.

    Example: dmix train base --model model.yaml --tokens 1000000 --name small
    """
    from dmix.cli.workflows.runs.base_model import train_base_model

    return train_base_model
