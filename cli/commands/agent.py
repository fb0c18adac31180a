"""`dmix agent`: training the agent that chooses mixtures."""

from dataclasses import asdict
from typing import Any

import click

from dmix.cli.commands.agent_clone import clone
from dmix.cli.commands.agent_rl import evaluate, rl
from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_new_agent, check_set
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.files.layout import Warehouse


@click.group()
def agent() -> None:
    """Train the agent that chooses mixtures."""


@agent.command()
@config_option
@warehouse_option
@click.option(
    "--set",
    "set_names",
    required=True,
    multiple=True,
    metavar="NAME",
    help="Set of trajectories to learn from; repeat it for a set agent.",
)
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@settings_options(SftSettings)
@click.option("--overwrite", is_flag=True, help="Replace an agent of that name.")
@json_option
@dry_run_option
def sft(
    *,
    warehouse: Warehouse,
    set_names: tuple[str, ...],
    agent_name: str,
    settings: SftSettings,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Fine-tune an agent on the trajectories of K = 1 (Eq. 4).

    It reads the set's feedback where there is some, and mixtures alone otherwise. An agent of
    --architecture set learns from sets of any domains and objectives, and steers runs over others.

    Example: dmix agent sft --set first --agent first-sft --epochs 20
    """
    check_set(warehouse, *set_names)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    from dmix.mixing.learning.sft import load_sft_datasets, train_sft
    from dmix.warehouse_schema.catalog.catalog import sync

    report: dict[str, Any] = {"agent": agent_name, "set": ", ".join(set_names)}
    if dry_run:
        datasets = load_sft_datasets(warehouse, set_names=set_names, settings=settings)
        steps = sum(len(example.tokens_TX) for dataset in datasets for example in dataset.examples)
        report |= {
            "preset": datasets[0].preset,
            "trajectories": sum(len(dataset.examples) for dataset in datasets),
            "with_feedback": sum(dataset.with_feedback for dataset in datasets),
            "objectives": list(dict.fromkeys(name for dataset in datasets for name in dataset.objectives)),
            "tokens_at_most": settings.epochs * steps,
        }
    else:
        result = train_sft(
            warehouse,
            set_name=set_names[0],
            more_sets=set_names[1:],
            agent_name=agent_name,
            settings=settings,
            overwrite=overwrite,
            progress=say,
        )
        sync(warehouse)
        report |= asdict(result) | {"folder": str(warehouse.agent(agent_name))}
    if as_json:
        show_json(report)
    else:
        show_table(["", "value"], [(name, _text(name, value)) for name, value in report.items()])


def _text(name: str, value: Any) -> Any:
    """Losses by epoch as their ends, other lists as their items, other values as they are."""
    if name in ("train_losses", "held_out_losses") and value:
        return f"{value[0]:.5f} → {value[-1]:.5f} ({len(value)} epochs)"
    if isinstance(value, list | tuple):
        return ", ".join(f"{item:.5f}" if isinstance(item, float) else str(item) for item in value)
    return value


agent.add_command(clone)
agent.add_command(rl)
agent.add_command(evaluate)
