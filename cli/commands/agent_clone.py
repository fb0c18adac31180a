"""`dmix agent clone`; `dmix.cli.commands.agent` adds it to its group."""

from functools import partial

import click

from dmix.cli.show.options import settings_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.learning.settings.clone import CloneSettings


@click.command()
@warehouse_options
@click.option(
    "--set",
    "set_names",
    required=True,
    metavar="NAME",
    help="Name of the set of trajectories (series of mixtures) from 'dmix mix sample'. The set needs "
    "feedback: scores from 'dmix mix collect'.",
)
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the new agent.")
@settings_options(CloneSettings, hidden=("architecture", "domain_width"))
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@calls_workflow
def clone() -> Workflow:
    """Train a baseline agent that imitates the best trajectories.

    Trajectories are series of mixtures. The best ones have the highest utility, the weighted sum of the gains
    of all objectives (goals). The method is behaviour cloning. Compare this baseline with an agent from 'dmix
    agent rl'. With --aim, the agent also reads the final utility that a run should reach, as in Decision
    Transformer.

    Example: dmix agent clone --set farm --agent dt --best 1 --aim 1
    """
    from dmix.cli.workflows.agents.learn import train_agent

    return partial(train_agent, method="clone")
