"""`dmix agent clone`; `dmix.cli.commands.agent` adds it to its group."""

from dataclasses import asdict
from typing import Any

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_new_agent, check_set
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@settings_options(CloneSettings, hidden=("architecture", "domain_width"))
@click.option("--overwrite", is_flag=True, help="Replace an agent of that name.")
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
    """Train an agent to imitate the best trajectories of a set, or all of them by their outcome.

    Baselines for agents that are trained by 'dmix agent rl': behaviour cloning, and with --aim a
    return-conditioned agent in the manner of Decision Transformer.

    Example: dmix agent clone --set farm --agent dt --best 1 --aim 1
    """
    check_set(warehouse, set_name)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    from dmix.mixing.learning.clone import train_clone
    from dmix.mixing.offline.farm import load_farm
    from dmix.warehouse_schema.catalog.catalog import sync

    report: dict[str, Any] = {"agent": agent_name, "set": set_name}
    if dry_run:
        farm = load_farm(warehouse, set_name, preset=settings.preset)
        taught = farm.episodes.best(settings.best)
        steps = int(taught.valid_mask_ET.sum())
        report |= {
            "preset": farm.preset,
            "trajectories": len(taught),
            "steps": steps,
            "tokens_at_most": settings.epochs * steps,
        }
    else:
        summary = train_clone(
            warehouse,
            set_name=set_name,
            agent_name=agent_name,
            settings=settings,
            overwrite=overwrite,
            progress=say,
        )
        sync(warehouse)
        report |= asdict(summary) | {"folder": str(warehouse.agent(agent_name))}
    if as_json:
        show_json(report)
    else:
        show_table(["", "value"], [(name, _text(value)) for name, value in report.items()])


def _text(value: Any) -> Any:
    """The losses of all epochs as the first and the last, other values as they are."""
    if isinstance(value, tuple):
        return f"{value[0]:.5f} → {value[-1]:.5f} ({len(value)} epochs)" if value else "none"
    return value
