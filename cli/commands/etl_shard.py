"""`dmix etl shard`, `verify` and `gc`; `dmix.cli.commands.etl` adds them to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    corpora_option,
    data_url_option,
    dataset_option,
    executor_options,
    settings_options,
    warehouse_options,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.shard.settings import ShardSettings


@click.command()
@warehouse_options
@corpora_option
@settings_options(ShardSettings)
@click.option(
    "--environment",
    type=Path,
    multiple=True,
    metavar="FILE",
    help="Environment file. dmix keeps the evaluation items of this file out of the training text (see "
    "--contaminated). Repeat the flag for several files.",
)
@executor_options
@data_url_option
@calls_workflow
def shard() -> Workflow:
    """Make a dataset: cut tokenised corpora into samples.

    A sample is a text of fixed length in tokens. Each domain of each field (source and target) gets one
    stream, a folder of samples. The same corpora and settings always give the same dataset. If the command
    is killed, run it again to resume. --drop-duplicates keeps only the first copy of each text.
    --environment leaves out documents that contain evaluation items.

    Example: dmix etl shard --seq-len 512 --name small
    """
    from dmix.cli.workflows.data.shard import shard_corpora

    return shard_corpora


@click.command()
@warehouse_options
@dataset_option
@calls_workflow(dry_run=False)
def verify() -> Workflow:
    """Compare every file of the warehouse with its manifest.

    A manifest is a list of files with their hashes. The exit code is 4 if a file differs. With --dataset, the
    command checks only that dataset and its corpora.

    Example: dmix etl verify
    """
    from dmix.cli.workflows.data.maintain import verify_files

    return verify_files


@click.command()
@warehouse_options
@calls_workflow
def gc() -> Workflow:
    """Remove unused files, such as the remains of killed jobs.

    A file is unused if no manifest (list of files) names it. Resume killed jobs before you run this command.
    Otherwise, these jobs start again from the beginning. The command does not touch the files of running
    jobs.

    Example: dmix etl gc --dry-run
    """
    from dmix.cli.workflows.data.maintain import remove_unnamed

    return remove_unnamed
