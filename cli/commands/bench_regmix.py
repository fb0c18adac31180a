"""`dmix bench regmix`; `dmix.cli.commands.bench` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import config_option
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.regression.regressors import REGRESSORS


@click.command()
@config_option
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder with the tables of RegMix: train_mixture_1m.csv, train_pile_loss_1m.csv, and test "
    "tables for each size.",
)
@click.option(
    "--regressor",
    "regressors",
    multiple=True,
    type=click.Choice(list(REGRESSORS)),
    help="Regressor to test. Repeat the flag for several regressors. Default: all.",
)
@click.option(
    "--out",
    type=OutputPath(),
    metavar="PATH",
    help="File for the results. In a folder, dmix names the file regmix-<machine>-<date>.json.",
)
@calls_workflow
def regmix() -> Workflow:
    """Test regressors on the published runs of RegMix.

    A regressor predicts losses from mixtures. dmix fits each regressor to the training runs only. The
    score is Spearman's rank correlation, times 100, on each table of test runs.

    Example: dmix bench regmix --data regmix --regressor lightgbm --json
    """
    from dmix.cli.workflows.bench.regmix import judge_regressors

    return judge_regressors
