"""`dmix agent clone`; `dmix.cli.commands.agent` adds it to its group."""

from functools import partial

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.learning.settings.clone import CloneSettings


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_names", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@settings_options(CloneSettings, hidden=("architecture", "domain_width"))
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@json_option
@dry_run_option
@calls_workflow
def clone() -> Workflow:
    """Train an agent to imitate the best trajectories of a set.

    The result is a baseline for agents of 'dmix agent rl': behaviour cloning by default, and with --aim
    a return-conditioned agent in the manner of Decision Transformer.

    Example: dmix agent clone --set farm --agent dt --best 1 --aim 1
    """
    from dmix.cli.workflows.agents.learn import train_agent

    return partial(train_agent, method="clone")
