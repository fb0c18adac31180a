"""`dmix agent rl` and `dmix agent evaluate`; `dmix.cli.commands.agent` adds them to its group."""

from dataclasses import asdict
from typing import Any

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    retired_options,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.workflows.preflight import check_agent, check_new_agent, check_set
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.warehouse_schema.files.layout import Warehouse


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@click.option(
    "--from",
    "start",
    metavar="NAME",
    help="Agent that the actor starts from, as 'dmix agent sft' makes one; a clone of the best"
    " trajectories when left out.",
)
@retired_options(
    n_steps="critics back up one reward at a time; leave it out, or raise --returns-steps",
    importance="the conservative term weighs all mixtures alike; --conservative-weight sets its weight",
    divergence_target="--conservative-weight and --simulator-share hold the policy near the farm",
    potential="critics learn what is still to gain; --returns-steps fits them to the farm's returns first",
)
@settings_options(RlSettings)
@click.option("--overwrite", is_flag=True, help="Replace an agent of that name.")
@json_option
@dry_run_option
def rl(
    *,
    warehouse: Warehouse,
    set_name: str,
    agent_name: str,
    start: str | None,
    settings: RlSettings,
    overwrite: bool,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Train an agent by conservative Q-learning (Eq. 5-7) on a set with feedback.

    A training that was broken off goes on when the same command is given again.

    Example: dmix agent rl --set farm --agent first-rl --from first-sft
    """
    check_set(warehouse, set_name)
    check_new_agent(warehouse, agent_name, overwrite=overwrite)
    check_agent(warehouse, start)
    hush_gym()
    from dmix.mixing.learning.rl import prepare, train_rl
    from dmix.warehouse_schema.catalog.catalog import sync

    report: dict[str, Any] = {"agent": agent_name, "set": set_name}
    if dry_run:
        farm, first, resolved = prepare(warehouse, set_name=set_name, settings=settings, start=start)
        episodes = farm.episodes
        updates = resolved.steps + resolved.returns_steps
        report |= {
            "preset": resolved.preset,
            "trajectories": len(episodes),
            "steps": int(episodes.valid_mask_ET.sum()),
            "parameters": first.num_parameters(),
            "updates": updates,
            "tokens": updates
            * min(resolved.batch_episodes, len(episodes))
            * int(episodes.tokens_ESX.shape[1]),
        }
    else:
        summary = train_rl(
            warehouse,
            set_name=set_name,
            agent_name=agent_name,
            settings=settings,
            start=start,
            overwrite=overwrite,
            progress=say,
        )
        sync(warehouse)
        report |= asdict(summary) | {"folder": str(warehouse.agent(agent_name))}
    _show(report, as_json=as_json)


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Agent to judge.")
@settings_options(EvaluateSettings)
@json_option
@dry_run_option
def evaluate(
    *,
    warehouse: Warehouse,
    set_name: str,
    agent_name: str,
    settings: EvaluateSettings,
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Judge an agent from a farm alone, before it costs a run.

    Fitted Q evaluation and learned simulators of the feedback give the utility to expect, in the
    unit of the set's utility; guard limits tell how many of its steps the farm never made.

    Example: dmix agent evaluate --set farm --agent first-rl
    """
    check_set(warehouse, set_name)
    check_agent(warehouse, agent_name)
    hush_gym()
    from dmix.mixing.learning.evaluate import evaluate_agent, load_subject

    if dry_run:
        farm, agent = load_subject(warehouse.require(), set_name=set_name, agent_name=agent_name)
        report: dict[str, Any] = {
            "agent": agent_name,
            "set": set_name,
            "trajectories": len(farm.episodes),
            "parameters": agent.num_parameters(),
            "trainings": 2 * settings.repeats,
            "updates": settings.repeats * (settings.fqe_steps + settings.simulator_steps),
        }
    else:
        report = evaluate_agent(
            warehouse.require(), set_name=set_name, agent_name=agent_name, settings=settings, progress=say
        )
    _show(report, as_json=as_json)


def hush_gym() -> None:
    """Keeps Gym, which d3rlpy imports, from printing that it is unmaintained; call it before that import."""
    try:
        from gym_notices import notices
    except ImportError:  # a d3rlpy that imports Gymnasium
        return
    notices.notices.clear()


def _show(report: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(report)
    else:
        show_table(["", "value"], list(_flat(report)))


def _flat(value: dict[str, Any], prefix: str = "") -> Any:
    """Rows of nested values, names joined by a dot."""
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        elif isinstance(inner, list | tuple):
            yield prefix + name, ", ".join(f"{x:.4g}" if isinstance(x, float) else str(x) for x in inner)
        else:
            yield prefix + name, inner
