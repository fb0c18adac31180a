"""`dmix agent`: training the agent that chooses mixtures."""

from dataclasses import asdict
from typing import Any

import click

from dmix.cli.agent_rl import evaluate, rl
from dmix.cli.options import config_option, dry_run_option, json_option, settings_options, warehouse_option
from dmix.cli.output import say, show_json, show_table
from dmix.mixing.sft_settings import SftSettings
from dmix.warehouse_schema.layout import Warehouse


@click.group()
def agent() -> None:
    """Train the agent that chooses mixtures."""


@agent.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories to learn from.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@settings_options(SftSettings)
@click.option("--overwrite", is_flag=True, help="Replace an agent of that name.")
@json_option
@dry_run_option
def sft(
    *,
    warehouse: Warehouse,
    set_name: str,
    agent_name: str,
    settings: SftSettings,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Fine-tune an agent on the trajectories of K = 1 (Eq. 4).

    It reads the set's feedback where there is some, and mixtures alone otherwise.

    Example: dmix agent sft --set first --agent first-sft --epochs 20
    """
    from dmix.mixing.agent_store import check_free
    from dmix.mixing.lessons import load_lesson
    from dmix.mixing.sft import train_sft
    from dmix.warehouse_schema.catalog import sync

    check_free(warehouse.require(), name=agent_name, overwrite=overwrite)
    report: dict[str, Any] = {"agent": agent_name, "set": set_name}
    if dry_run:
        lesson = load_lesson(warehouse, set_name=set_name, preset=settings.preset)
        report |= {
            "preset": lesson.preset,
            "trajectories": len(lesson.examples),
            "with_feedback": lesson.with_feedback,
            "objectives": list(lesson.objectives),
            "tokens_at_most": settings.epochs * sum(len(e.tokens_TX) for e in lesson.examples),
        }
    else:
        result = train_sft(
            warehouse,
            set_name=set_name,
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
        show_table(["", "value"], [(name, _text(value)) for name, value in report.items()])


def _text(value: Any) -> Any:
    """A list of losses as its ends, other values as they are."""
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], float):
            return f"{value[0]:.5f} → {value[-1]:.5f} ({len(value)} epochs)"
        return ", ".join(map(str, value))
    return value


agent.add_command(rl)
agent.add_command(evaluate)
