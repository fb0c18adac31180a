"""`dmix mix probe`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    Count,
    FiniteFloat,
    dataset_option,
    unscreened_option,
    warehouse_options,
)
from dmix.cli.show.outputs import OutputPath
from dmix.cli.show.workflow import Workflow, calls_workflow

ESTIMATORS = ("counts", "gradient", "probe")


@click.command()
@warehouse_options
@dataset_option
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file that lists the objectives.",
)
@click.option(
    "--estimator",
    type=click.Choice(ESTIMATORS),
    default="counts",
    show_default=True,
    help="Method to estimate the effects. 'counts' compares the bigrams (pairs of tokens) of each domain "
    "with the evaluation items; it takes seconds and needs no model. 'gradient' compares your model's loss "
    "gradients on each domain and on the items; it takes about an hour. 'probe' trains short runs of your "
    "model, each with more text of one domain.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model for --estimator gradient or probe: model file (.yaml), checkpoint folder, model of the "
    "warehouse, or hub id. With --estimator counts, a model is optional. If you give a model, text "
    "that this model already predicts well counts less.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Training file (YAML) of the planned run.",
)
@click.option(
    "--groups",
    type=Count(min=2),
    help="Maximum number of probes (short runs). Runs of natural mixing do not count. If the dataset has "
    "more domains than this number, dmix groups domains and makes one probe per group. Default: 40.",
)
@click.option(
    "--steps",
    type=Count(min=4),
    help="Number of steps per probe. Default: 4, a quarter of a run of 16 steps.",
)
@click.option(
    "--samples",
    type=Count(min=1),
    help="Number of samples of the planned run, as in 'dmix mix plan'. With --estimator probe, each "
    "short run draws a quarter of this number. Default: all samples of the dataset.",
)
@click.option(
    "--max-hours",
    type=FiniteFloat(),
    help="Time limit in hours. To stay below the limit, --estimator probe groups domains, and "
    "--estimator gradient reads less text. Default: 1 for gradient, no limit for probe.",
)
@click.option(
    "--export",
    "export_to",
    metavar="DIR",
    type=OutputPath(file_okay=False),
    help="Folder for a list of probe mixtures and an empty table of scores. Use this flag to run the "
    "probes with your own trainer. dmix trains nothing.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with the scores of your own trainer (.csv, .jsonl or .parquet). Its columns are probe, "
    "objective and score. Keep the file in the folder of --export, beside probes.json.",
)
@click.option("--name", help="Name for the stored effects. Default: a name made from the inputs.")
@click.option(
    "--master",
    envvar="DMIX_MASTER",
    show_envvar=True,
    metavar="URL",
    help="URL of a Spark master, to count a dataset that is too large for one machine. Default: dmix "
    "counts in this process.",
)
@unscreened_option
@calls_workflow
def probe() -> Workflow:
    """Measure how each domain changes each objective (goal).

    Use this command before a run. It prints a table with a row per domain and a column per objective. Each
    cell shows the predicted gain of a mixture over natural mixing, in nats per token. The mixture has one
    tenth text of the domain and nine tenths natural mixing. The domain's effect is ten times this gain.
    Natural mixing draws every domain in proportion to its size. The warehouse stores the effects in the views
    'effects' and 'effect_objectives'. 'dmix mix plan' makes a mixture from the effects.

    Example: dmix mix probe --environment environment.yaml
    """
    from dmix.cli.workflows.effects.probe import probe_effects

    return probe_effects
