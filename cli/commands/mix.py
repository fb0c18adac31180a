"""`dmix mix`: trajectories to learn from, and what proxies say about them."""

import click

from dmix.cli.commands.mix_collect import collect
from dmix.cli.commands.mix_plan import plan
from dmix.cli.commands.mix_probe import probe
from dmix.cli.show.options import (
    Count,
    dataset_option,
    settings_options,
    warehouse_options,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.trajectories.settings import SampleSettings


@click.group()
def mix() -> None:
    """Measure effects of domains, plan mixtures, and make training data for agents."""


@mix.command()
@warehouse_options
@dataset_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Name of the new set of trajectories.")
@settings_options(SampleSettings)
@click.option(
    "--processes",
    type=Count(min=1),
    help="Number of processes. dmix uses at most one process per value of --top-k. Default: one per core.",
)
@calls_workflow
def sample() -> Workflow:
    """Sample series of mixtures that lead from source to target text.

    A series of mixtures is a trajectory. 'dmix mix collect' then trains a small model under each trajectory,
    and agents learn from the scores. dmix uses Algorithm 1 of the Data Mixing Agent paper (arXiv 2507.15640).
    If the command is killed, run it again to resume. The command prints the number of steps (M), of samples
    per step (R) and of domains. It also prints how often a run under natural mixing reads the target text.
    Natural mixing gives every domain a share in proportion to its size. A table shows gaps. A gap is a step
    at which no trajectory has a target share in a certain range.

    Example: dmix mix sample --set first --preset default --top-k 1 --paths 8 --candidates 2000
    """
    from dmix.cli.workflows.agents.sample import sample_set

    return sample_set


mix.add_command(collect)
mix.add_command(probe)
mix.add_command(plan)
