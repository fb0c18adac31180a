"""`dmix eval`: scores of models on benchmarks."""

from pathlib import Path

import click

from dmix.cli.show.options import settings_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.training.evaluation.settings import KINDS, EvaluationSettings


@click.command("eval")
@warehouse_options
@click.option(
    "--run", "run_id", metavar="ID", help="Run whose models dmix scores. The warehouse stores the scores."
)
@click.option(
    "--step",
    "steps",
    multiple=True,
    metavar="K|all",
    help="Step of the run after which to score the model. 0 is the model before any step. Repeat the "
    "flag for several steps. Default: the newest model.",
)
@click.option(
    "--model",
    metavar="PATH|NAME|HUB-ID",
    help="Model outside any run. dmix shows its scores and stores nothing.",
)
@click.option(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME",
    help="Task of lm-evaluation-harness. You can also give humaneval or mbpp, which evalplus runs, or a "
    "group of tasks: general, math or code. Repeat the flag for several tasks.",
)
@click.option(
    "--items",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of your own evaluation items (.jsonl or .jsonl.gz). Repeat the flag for several files.",
)
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    default=KINDS[0],
    show_default=True,
    help="Form of the records in --items. A 'multiple_choice' record has question, choices and label. A "
    "'qa' record has question and answer.",
)
@click.option(
    "--environment",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Environment file. dmix scores the models of --run on the objectives of this file, in nats per "
    "token. The output also shows the change from the first to the last --step, and the difference from a "
    "run of natural mixing.",
)
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Accept changed items, starting models or manifests of the dataset. dmix records the old and the "
    "new digest.",
)
@settings_options(EvaluationSettings)
@calls_workflow
def evaluate() -> Workflow:
    """Score models of a run on objectives (goals) or benchmarks.

    The view 'evaluations' lists the scores. With --environment, the command shows which objectives
    improved and which got worse. With --task, dmix downloads items from the hub. With --items, dmix reads
    a file. dmix skips scores that the warehouse already has.

    Example: dmix eval --run natural --step all --environment judging.yaml
    """
    from dmix.cli.workflows.runs.evaluate import evaluate_models

    return evaluate_models
