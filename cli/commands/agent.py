"""`dmix agent`: training the agent that chooses mixtures."""

from functools import partial

import click

from dmix.cli.commands.agent_clone import clone
from dmix.cli.commands.agent_rl import evaluate, rl
from dmix.cli.show.options import settings_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.learning.settings.sft import SftSettings


@click.group()
def agent() -> None:
    """Train an agent that chooses mixtures."""


@agent.command()
@warehouse_options
@click.option(
    "--set",
    "set_names",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Name of the set of trajectories (series of mixtures) from 'dmix mix sample'. With "
    "--architecture set, repeat the flag for several sets.",
)
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the new agent.")
@settings_options(SftSettings)
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@calls_workflow
def sft() -> Workflow:
    """Train an agent to imitate trajectories.

    A trajectory is a series of mixtures. The agent imitates the trajectories of the set with K = 1 (Eq. 4 of
    arXiv 2507.15640). In these trajectories, each step has the best candidate mixture (see --top-k of 'dmix
    mix sample'). If the set has feedback (scores of small models), the agent reads mixtures and scores.
    Otherwise, the agent reads only mixtures. With --architecture set, one agent learns from several sets and
    controls runs with other domains and objectives.

    Example: dmix agent sft --set first --agent first-sft --epochs 20
    """
    from dmix.cli.workflows.agents.learn import train_agent

    return partial(train_agent, method="sft")


agent.add_command(clone)
agent.add_command(rl)
agent.add_command(evaluate)
