"""`dmix etl start-state`: shares of domains, counted in a dataset or estimated from a model."""

import click

from dmix.cli.show.options import (
    config_option,
    dataset_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.settings import StartStateSettings


@click.command("start-state")
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--from",
    "origin",
    type=click.Choice(("corpus", "model")),
    default="corpus",
    show_default=True,
    help="'corpus': count the documents and samples of a dataset. 'model': classify text that"
    " a model writes.",
)
@click.option(
    "--model", metavar="PATH|HUB-ID", help="Causal language model that writes the text, for --from model."
)
@click.option("--name", help="Name of the model's estimate. Default: the last part of --model.")
@settings_options(StartStateSettings)
@settings_options(GenerationSettings, parameter="generation")
@executor_options
@json_option
@dry_run_option
@calls_workflow
def start_state() -> Workflow:
    """Show each domain's share of its field, in documents and in samples.

    With --from model, the command classifies documents that a model writes from its start token. It
    stops when the sampling error of the shares is small enough (--kl-bound). The views 'start_state',
    'start_state_estimates' and 'start_state_convergence' show the estimate, its intervals and its
    convergence. With --dataset, they also show its distance from that dataset's source field.

    Example: dmix etl start-state --dataset small
    """
    from dmix.cli.workflows.data.start_state import show_start_state

    return show_start_state
