"""`dmix mix collect`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    dry_run_option,
    json_option,
    master_option,
    unscreened_option,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories to follow.")
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the objectives that score the proxies.",
)
@click.option(
    "--proxy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Proxy file: the proxy model and its training. Default: a small LLaMA.",
)
@click.option(
    "--base",
    "bases",
    metavar="NAME",
    multiple=True,
    help="Base model that the proxies start from, if the proxy file has init: base. Repeat the"
    " flag for base models with another width or another pre-training; some of the varied"
    " proxies use them (see 'vary' in the proxy file).",
)
@click.option(
    "--stack",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Maximum number of proxies that one task trains at once. A larger stack uses a GPU better.",
)
@click.option(
    "--gpus-per-task",
    type=FiniteFloat(),
    help="GPUs per Spark task; with 0.25, four tasks share one. The cluster's executors need GPUs"
    " (spark.executor.resource.gpu.*).",
)
@master_option
@click.option(
    "--in-process",
    is_flag=True,
    help="Train in this process, one stack of proxies after the other, without Spark.",
)
@unscreened_option
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Accept changed items or changed base models. dmix records the old and the new digest.",
)
@json_option
@dry_run_option
@calls_workflow
def collect() -> Workflow:
    """Train a proxy along every trajectory of a set and score it at each step.

    A killed run keeps its finished trajectories and resumes. In a set of the preset
    'default', a quarter of the proxies are varied (another learning rate, width, base model or source),
    so that an agent can learn from scores. The column 'variation' of the view 'feedback' shows how.

    Example: dmix mix collect --set farm --environment environment.yaml --proxy proxy.yaml
    """
    from dmix.cli.workflows.agents.collect import collect_farm

    return collect_farm
