"""`dmix etl distil`."""

import click

from dmix.cli.show.options import corpora_option, settings_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.distilling.settings import DistilSettings


@click.command()
@warehouse_options
@click.option(
    "--name", required=True, help="Name of the new classifier. Other commands call it distilled:NAME."
)
@corpora_option
@settings_options(DistilSettings)
@calls_workflow
def distil() -> Workflow:
    """Train a fast classifier on the labels of a teacher.

    The teacher is the classifier that labelled the corpora. The command prints how often the fast
    classifier agrees with the teacher. Then 'dmix etl classify --classifier distilled:NAME' labels other
    documents as fast as the embedded classifier does. If you add '--fallback nvidia --margin 0.2', the
    classifier 'nvidia' labels the documents on which the fast classifier is unsure.

    Example: dmix etl distil --name fast
    """
    from dmix.cli.workflows.data.distil import distil_classifier

    return distil_classifier
