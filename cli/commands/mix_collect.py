"""`dmix mix collect`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    Count,
    FiniteFloat,
    master_option,
    unscreened_option,
    warehouse_options,
)
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.command()
@warehouse_options
@click.option(
    "--set",
    "set_name",
    required=True,
    metavar="NAME",
    help="Name of the set of trajectories, from 'dmix mix sample'.",
)
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file. It lists the objectives (goals) and the items on which dmix scores the proxies.",
)
@click.option(
    "--proxy",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Proxy file: YAML file that describes the proxy model and its training. Default: a small "
    "LLaMA model.",
)
@click.option(
    "--base",
    "bases",
    metavar="NAME",
    multiple=True,
    help="Model of 'dmix train base' from which the proxies start, if the proxy file has 'init: base'. "
    "Repeat the flag to add base models that differ in width or pre-training. Only varied proxies "
    "start from these additional models; see 'vary' in the proxy file.",
)
@click.option(
    "--stack",
    type=Count(min=1),
    default=1,
    show_default=True,
    help="Maximum number of proxies that one task trains at once. A larger number uses a GPU better.",
)
@click.option(
    "--gpus-per-task",
    type=FiniteFloat(),
    help="Number of GPUs per Spark task. With 0.25, four tasks share one GPU. Set "
    "spark.executor.resource.gpu.* so that the cluster's executors have GPUs.",
)
@master_option
@click.option(
    "--in-process",
    is_flag=True,
    help="Train in this process, without Spark. See --stack for the number of proxies at once.",
)
@unscreened_option
@click.option(
    "--accept-changes",
    is_flag=True,
    help="Accept changed items, base models or manifests of the dataset. dmix records the old and the new "
    "digest.",
)
@calls_workflow
def collect() -> Workflow:
    """Train and score a small model under each trajectory of a set.

    A trajectory is a series of mixtures, one per step. The small model is called a proxy. dmix scores the
    proxy after each step. The scores are the feedback from which agents learn. If the command is killed, run
    it again to resume; dmix keeps finished trajectories. With preset 'default', a quarter of the proxies
    differ from the others, in learning rate, width, base model or part of the source. The
    column 'variation' of the view 'feedback' lists these differences.

    Example: dmix mix collect --set farm --environment environment.yaml --proxy proxy.yaml
    """
    from dmix.cli.workflows.agents.collect import collect_farm

    return collect_farm
