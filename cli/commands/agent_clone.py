"""`dmix agent clone`; `dmix.cli.commands.agent` adds it to its group."""

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say
from dmix.cli.show.result import show_result
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@settings_options(CloneSettings, hidden=("architecture", "domain_width"))
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@json_option
@dry_run_option
def clone(
    *,
    warehouse: Warehouse,
    set_name: str,
    agent_name: str,
    settings: CloneSettings,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Train an agent to imitate the best trajectories of a set.

    The result is a baseline for agents of 'dmix agent rl': behaviour cloning by default, and with --aim
    a return-conditioned agent in the manner of Decision Transformer.

    Example: dmix agent clone --set farm --agent dt --best 1 --aim 1
    """
    from dmix.cli.workflows.agents.learn import train_clone_agent

    result = train_clone_agent(
        warehouse,
        set_name=set_name,
        agent_name=agent_name,
        settings=settings,
        overwrite=overwrite,
        dry_run=dry_run,
        progress=say,
    )
    show_result(result, as_json=as_json)
