"""`dmix agent rl` and `dmix agent evaluate`; `dmix.cli.commands.agent` adds them to its group."""

from functools import partial

import click

from dmix.cli.show.options import (
    config_option,
    dry_run_option,
    json_option,
    retired_options,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.learning.settings.rl import RlSettings


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_names", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent.")
@click.option(
    "--from",
    "start",
    metavar="NAME",
    help="Agent that the actor starts from, for example one by 'dmix agent sft'. Default: a clone of the"
    " best trajectories.",
)
@retired_options(
    n_steps="critics back up one reward at a time; leave it out, or raise --returns-steps",
    importance="the conservative term weighs all mixtures alike; --conservative-weight sets its weight",
    divergence_target="--conservative-weight and --simulator-share keep the policy near the farm",
    potential="critics learn the remaining gain; --returns-steps fits them to the farm's returns first",
)
@settings_options(RlSettings)
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@json_option
@dry_run_option
@calls_workflow
def rl() -> Workflow:
    """Train an agent by conservative Q-learning (Eq. 5-7) on a set with feedback.

    If the training is interrupted, the same command resumes it.

    Example: dmix agent rl --set farm --agent first-rl --from first-sft
    """
    from dmix.cli.workflows.agents.learn import train_agent

    return partial(train_agent, method="rl")


@click.command()
@config_option
@warehouse_option
@click.option("--set", "set_name", required=True, metavar="NAME", help="Set of trajectories with feedback.")
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Agent to judge.")
@settings_options(EvaluateSettings)
@json_option
@dry_run_option
@calls_workflow
def evaluate() -> Workflow:
    """Judge an agent from a farm alone, before you spend a run on it.

    Fitted Q evaluation and learned simulators estimate the agent's utility, in the unit of the set's
    utility. The output also shows how many of the agent's steps are outside the farm's range (the guard
    limits).

    Example: dmix agent evaluate --set farm --agent first-rl
    """
    from dmix.cli.workflows.agents.learn import judge_agent

    return judge_agent
