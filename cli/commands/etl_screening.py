"""`dmix etl duplicates` and `contamination`."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    config_option,
    corpora_option,
    dry_run_option,
    executor_options,
    json_option,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow


@click.command()
@config_option
@warehouse_option
@corpora_option
@executor_options
@json_option
@dry_run_option
@calls_workflow
def duplicates() -> Workflow:
    """Find documents with the same text, within and across corpora, and list them in the view 'duplicates'.

    The comparison ignores case, punctuation and white space. `dmix etl shard --drop-duplicates` keeps
    the first document by corpus, file and position. The command reads each label file only once.

    Example: dmix etl duplicates
    """
    from dmix.cli.workflows.data.screen import screen_duplicates

    return screen_duplicates


@click.command()
@config_option
@warehouse_option
@corpora_option
@click.option(
    "--environment",
    type=Path,
    required=True,
    metavar="FILE",
    help="Environment file with the items to look for.",
)
@executor_options
@json_option
@dry_run_option
@calls_workflow
def contamination() -> Workflow:
    """Find evaluation items in the text of corpora, and list them in the view 'contamination'.

    A document contains an item if it has 13 consecutive words of it, or a whole question of 7 to 12
    words. The command looks for all items in the files that the environment lists, and ignores their
    'split' and 'limit'.

    Example: dmix etl contamination --environment environment.yaml
    """
    from dmix.cli.workflows.data.screen import screen_contamination

    return screen_contamination
