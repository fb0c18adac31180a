"""`dmix etl start-state`: shares of domains, counted in a dataset or estimated from a model."""

import click

from dmix.cli.show.options import (
    dataset_option,
    executor_options,
    settings_options,
    warehouse_options,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.start_state.settings import StartStateSettings


@click.command("start-state")
@warehouse_options
@dataset_option
@click.option(
    "--from",
    "origin",
    type=click.Choice(("corpus", "model")),
    default="corpus",
    show_default=True,
    help="Origin of the shares. With 'corpus', dmix counts the documents and samples of a dataset. With "
    "'model', dmix classifies text that a model writes.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Causal language model that writes the text for --from model.",
)
@click.option(
    "--name", help="Name under which dmix stores the estimate of a model. Default: the last part of --model."
)
@settings_options(StartStateSettings)
@settings_options(GenerationSettings, parameter="generation")
@executor_options
@calls_workflow
def start_state() -> Workflow:
    """Show the share of each domain in its field.

    A field is the source or the target text. The command counts documents and samples. With --from model, a
    model writes documents, and dmix classifies these documents. The model stops when the sampling error of
    the shares is below --kl-bound. The view 'start_state' shows the shares with their intervals. The views
    'start_state_estimates' and 'start_state_convergence' show the sampling error. If you also give --dataset,
    dmix compares the shares that it estimates with the source field of this dataset.

    Example: dmix etl start-state --dataset small
    """
    from dmix.cli.workflows.data.start_state import show_start_state

    return show_start_state
