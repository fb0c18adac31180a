"""`dmix agent rl` and `dmix agent evaluate`; `dmix.cli.commands.agent` adds them to its group."""

from functools import partial

import click

from dmix.cli.show.options import retired_options, settings_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.mixing.learning.settings.evaluate import EvaluateSettings
from dmix.mixing.learning.settings.rl import RlSettings


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
@click.option(
    "--from",
    "start",
    metavar="NAME",
    help="Agent from which the actor starts, for example one from 'dmix agent sft'. Default: dmix first "
    "trains an actor that imitates the best trajectories.",
)
@retired_options(
    n_steps="the critics learn from one reward at a time; leave the flag out, or raise --returns-steps",
    importance="the conservative term gives all mixtures the same weight; set the term's weight with "
    "--conservative-weight",
    divergence_target="use --conservative-weight and --simulator-share to keep the policy near the farm",
    potential="the critics learn the remaining gain; use --returns-steps to fit the critics to the farm's "
    "returns first",
)
@settings_options(RlSettings)
@click.option("--overwrite", is_flag=True, help="Replace an existing agent of that name.")
@calls_workflow
def rl() -> Workflow:
    """Train an agent by conservative Q-learning.

    The method is Equations 5 to 7 of the Data Mixing Agent paper (arXiv 2507.15640). The agent learns from a
    set of trajectories (series of mixtures) and their scores. The actor is the network that chooses mixtures.
    The critics are networks that predict how much utility a run still gains. The utility is the weighted sum
    of the gains of all objectives (goals). If you interrupt the training, run the command again to resume.

    Example: dmix agent rl --set farm --agent first-rl --from first-sft
    """
    from dmix.cli.workflows.agents.learn import train_agent

    return partial(train_agent, method="rl")


@click.command()
@warehouse_options
@click.option(
    "--set",
    "set_name",
    required=True,
    metavar="NAME",
    help="Name of the set of trajectories (series of mixtures) from 'dmix mix sample'. The set needs "
    "feedback: scores from 'dmix mix collect'.",
)
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="Name of the agent to evaluate.")
@settings_options(EvaluateSettings)
@calls_workflow
def evaluate() -> Workflow:
    """Estimate the utility of an agent without a run.

    dmix uses only the farm: a set of trajectories (series of mixtures) with scores. The utility is the
    weighted sum of the gains of all objectives (goals). Two methods estimate the utility. Fitted Q evaluation
    trains a network that predicts the utility of the agent's choices. Learned simulators are networks that
    predict the next scores. The guard limits are the range of the farm's own steps. The output also shows how
    many of the agent's steps are outside these limits.

    Example: dmix agent evaluate --set farm --agent first-rl
    """
    from dmix.cli.workflows.agents.learn import judge_agent

    return judge_agent
