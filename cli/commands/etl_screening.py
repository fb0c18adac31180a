"""`dmix etl duplicates` and `contamination`."""

from pathlib import Path

import click

from dmix.cli.show.options import corpora_option, executor_options, warehouse_options
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.command()
@warehouse_options
@corpora_option
@executor_options
@calls_workflow
def duplicates() -> Workflow:
    """Find documents with the same text.

    The view 'duplicates' lists these documents, within and across corpora. The comparison ignores case,
    punctuation and white space. 'dmix etl shard --drop-duplicates' keeps the first copy, in the order of
    corpus, file and position.

    Example: dmix etl duplicates
    """
    from dmix.cli.workflows.data.screen import screen_duplicates

    return screen_duplicates


@click.command()
@warehouse_options
@corpora_option
@click.option(
    "--environment",
    type=Path,
    required=True,
    metavar="FILE",
    help="Environment file that lists the evaluation items to search for.",
)
@executor_options
@calls_workflow
def contamination() -> Workflow:
    """Find evaluation items in the text of corpora.

    The view 'contamination' lists the findings. A document contains an item if it contains 13 consecutive
    words of the item. If a question has only 7 to 12 words, the document must contain the whole question. The
    environment file names the files of items. The command searches for all items of these files, even if
    'split' or 'limit' selects only some of them.

    Example: dmix etl contamination --environment environment.yaml
    """
    from dmix.cli.workflows.data.screen import screen_contamination

    return screen_contamination
