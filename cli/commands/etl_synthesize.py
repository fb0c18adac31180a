"""`dmix etl synthesize`: a model writes a source corpus; `dmix.cli.commands.etl` adds it to its group."""

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    executor_options,
    settings_options,
)
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.synthetic.generation_settings import GenerationSettings


@click.command()
@config_option
@click.option(
    "--model",
    required=True,
    metavar="PATH|HUB-ID",
    help="Causal language model that writes the documents: a checkpoint folder or a hub id.",
)
@click.option("--out", required=True, type=OutputPath(file_okay=False), help="Folder for the documents.")
@click.option(
    "--tokens",
    type=int,
    help="Minimum number of tokens to write. Tokens of dropped documents count, too.",
)
@click.option(
    "--documents",
    metavar="FIRST:STOP",
    help="Range FIRST:STOP of document numbers to write, instead of --tokens. FIRST and STOP must be "
    "multiples of --block-documents. Use ranges to divide the work between machines.",
)
@settings_options(GenerationSettings, parameter="generation")
@settings_options(QualitySettings, parameter="quality")
@click.option(
    "--bandwidth",
    type=FiniteFloat(),
    metavar="GB/S",
    help="Memory bandwidth of this machine in GB/s. dmix computes the highest possible speed from this "
    "bandwidth. Default: dmix measures the bandwidth.",
)
@executor_options
@calls_workflow
def synthesize() -> Workflow:
    """Let a model write source text.

    Use this command if the source data is unavailable. The model writes each document from its start token,
    at temperature 1. dmix drops and counts empty documents and documents of low quality. Then give the folder
    --out to 'dmix etl classify --source'. That command marks the corpus as synthetic. If the command is
    killed, run it again to resume. With --documents, several machines can share the work. Together, they
    write the same text as one machine.

    Each worker process loads the model. Use one process per GPU. With --master local[2,3], dmix runs 2
    processes, and tries each task at most 3 times.

    Example: dmix etl synthesize --model EleutherAI/pythia-1.4b --tokens 10000000 --out spoken
    """
    from dmix.cli.workflows.data.synthesize import synthesize_text

    return synthesize_text
