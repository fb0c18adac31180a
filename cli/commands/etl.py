"""`dmix etl`: the group, and `classify`; the other commands are in `dmix.cli.commands.etl_shard`."""

import click

from dmix.cli.commands import etl_distil, etl_screening, etl_shard, etl_start_state, etl_synthesize
from dmix.cli.show.options import (
    Count,
    config_option,
    data_url_option,
    executor_options,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.classify.settings import ClassifySettings


class ManyPaths(click.Command):
    """A command whose `--source` and `--target` take several paths, as a shell's globs give them."""

    VARIADIC = ("--source", "--target")

    def parse_args(self, context: click.Context, arguments: list[str]) -> list[str]:
        expanded: list[str] = []
        current = None
        for argument in arguments:
            if argument.startswith("-"):
                current = argument if argument in self.VARIADIC else None
            elif current is not None and expanded[-1] != current:
                expanded.append(current)
            expanded.append(argument)
        return super().parse_args(context, expanded)


@click.group()
def etl() -> None:
    """Label text with domains, and make datasets."""


@etl.command(cls=ManyPaths)
@config_option
@click.option(
    "--source",
    multiple=True,
    metavar="PATH…",
    help="Inputs of the source field: files, folders, glob patterns or URLs.",
)
@click.option(
    "--target",
    multiple=True,
    metavar="PATH…",
    help="Inputs of the target field: files, folders, glob patterns or URLs.",
)
@click.option(
    "--name",
    default="main",
    show_default=True,
    help="Name of the corpora. dmix calls them NAME-source and NAME-target.",
)
@click.option("--add", is_flag=True, help="Add these inputs to the newest versions of the corpora.")
@click.option(
    "--seq-len",
    type=Count(min=2),
    metavar="N",
    help="Number of tokens per sample. With this flag, dmix also makes a dataset, as 'dmix etl shard "
    "--seq-len N' does.",
)
@settings_options(ClassifySettings)
@executor_options
@warehouse_option
@data_url_option
@calls_workflow
def classify() -> Workflow:
    """Read files and label every document with its domain.

    'Source' is text that the model must not forget; 'target' is text that it should learn. A corpus is a
    named set of documents from one of these fields. A domain is a class of documents, such as a topic. Give
    all inputs of a corpus in one call, or add more inputs later with --add. dmix keeps earlier labels and
    classifies only new files. The view 'rejects' lists each rejected document with the reason.

    dmix reads .jsonl, .ndjson, .json, .txt, .md and .parquet files. All except .parquet may also end in
    .gz, .zst or .bz2. Inputs may be remote: s3://bucket/folder, gs:// or hdfs://.

    With --seq-len, the command also makes a dataset of the corpora. All other settings of 'dmix etl shard'
    keep their defaults.

    Example: dmix etl classify --source books/ --target papers/*.jsonl.gz --warehouse w
    """
    from dmix.cli.workflows.data.classify import classify_text

    return classify_text


for command in (
    etl_distil.distil,
    etl_screening.duplicates,
    etl_screening.contamination,
    etl_shard.shard,
    etl_start_state.start_state,
    etl_synthesize.synthesize,
    etl_shard.verify,
    etl_shard.gc,
):
    etl.add_command(command)
