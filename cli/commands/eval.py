"""`dmix eval`: scores of models on benchmarks."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.training.evaluation.settings import KINDS, EvaluationSettings


@click.command("eval")
@config_option
@warehouse_option
@click.option(
    "--run", "run_id", metavar="ID", help="Run whose models are evaluated; dmix stores the scores with it."
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="K|all",
    help="Step of the run; 0 is the model before any step. Repeat the flag for several. Default: the"
    " newest model.",
)
@click.option(
    "--model",
    metavar="PATH|NAME|HUB-ID",
    help="Model outside any run; dmix shows its scores and stores nothing.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="A task of lm-evaluation-harness; or humaneval or mbpp, which evalplus runs; or a group: general,"
    " math, code. Repeat the flag for several.",
)
@click.option(
    "--items",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of evaluation items (.jsonl, .jsonl.gz); needs no network. Repeat the flag for several.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="Form of the items. 'multiple_choice': question, choices and label. 'qa': question and answer.",
)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Environment file. dmix scores the models of --run on its objectives, in nats per"
    " token, and shows the change from the first to the last --step.",
)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Accept changed items or a changed starting model. dmix records the old and the new digest.",
)
@settings_options(EvaluationSettings)
@json_option
@dry_run_option
@calls_workflow
def evaluate() -> Workflow:
    """Score models of a run on objectives or benchmarks, and store the scores in the view 'evaluations'.

    With --environment judging.yaml, the command shows what the run learned and forgot, on items that no
    controller saw. With --task, dmix downloads items from the hub; with --items, it reads a file. dmix
    skips scores that the warehouse already has.

    Example: dmix eval --run natural --step all --environment judging.yaml
    """
    from dmix.cli.workflows.runs.evaluate import evaluate_models

    return evaluate_models
