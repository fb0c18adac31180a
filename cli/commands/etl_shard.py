"""`dmix etl shard`, `verify` and `gc`; `dmix.cli.commands.etl` adds them to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    config_option,
    corpora_option,
    data_url_option,
    dataset_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.shard.settings import ShardSettings


@click.command()
@config_option
@warehouse_option
@corpora_option
@settings_options(ShardSettings)
@click.option(
    "--environment",
    type=Path,
    multiple=True,
    metavar="FILE",
    help="Environment file; dmix keeps its evaluation items out of the training text (see"
    " --contaminated). Repeat the flag for several.",
)
@executor_options
@data_url_option
@json_option
@dry_run_option
@calls_workflow
def shard() -> Workflow:
    """Tokenise corpora and pack them into one stream of samples per (field, domain).

    The same corpora and settings give the same dataset: a second run changes nothing, and a killed run
    resumes. --drop-duplicates keeps only the first copy of each text. --environment leaves out documents
    that contain one of its evaluation items.

    Example: dmix etl shard --seq-len 512 --name small
    """
    from dmix.cli.workflows.data.shard import shard_corpora

    return shard_corpora


@click.command()
@config_option
@warehouse_option
@dataset_option
@json_option
@calls_workflow
def verify() -> Workflow:
    """Compare every file with the manifests; exit code 4 if something differs.

    With --dataset, the command checks only that dataset and its corpora.

    Example: dmix etl verify
    """
    from dmix.cli.workflows.data.maintain import verify_files

    return verify_files


@click.command()
@config_option
@warehouse_option
@json_option
@dry_run_option
@calls_workflow
def gc() -> Workflow:
    """Remove files that no manifest names, such as the remains of killed jobs.

    If a killed job should resume, run it first; otherwise it starts again from its beginning. The command
    leaves running jobs alone.

    Example: dmix etl gc --dry-run
    """
    from dmix.cli.workflows.data.maintain import remove_unnamed

    return remove_unnamed
