"""`dmix etl distil`."""

import click

from dmix.cli.show.options import (
    config_option,
    corpora_option,
    dry_run_option,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.distilling.settings import DistilSettings


@click.command()
@config_option
@warehouse_option
@click.option("--name", required=True, help="Name of the classifier; use it as distilled:NAME.")
@corpora_option
@settings_options(DistilSettings)
@json_option
@dry_run_option
@calls_workflow
def distil() -> Workflow:
    """Train a fast classifier on another classifier's labels, and measure how well they agree.

    The teacher is the classifier that labelled the corpora. Afterwards, 'dmix etl classify --classifier
    distilled:NAME' labels other documents at the speed of the embedded classifier. With '--fallback
    nvidia --margin 0.2', the teacher labels the documents on which the fast classifier is unsure.

    Example: dmix etl distil --name fast
    """
    from dmix.cli.workflows.data.distil import distil_classifier

    return distil_classifier
