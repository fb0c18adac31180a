"""`dmix mix probe`; `dmix.cli.commands.mix` adds it to its group."""

from pathlib import Path

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    dataset_option,
    dry_run_option,
    json_option,
    unscreened_option,
    warehouse_option,
)
from dmix.cli.show.workflow import Workflow, calls_workflow

ESTIMATORS = ("counts", "gradient", "probe")


@click.command()
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--environment",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Environment file with the objectives.",
)
@click.option(
    "--estimator",
    type=click.Choice(ESTIMATORS),
    default="counts",
    show_default=True,
    help="counts: bigrams of each domain on the items; takes seconds and no model. gradient: gradients"
    " of your model; takes about an hour. probe: short runs of your model, each with more of one"
    " domain.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model to measure with gradient or probe: model file (.yaml), checkpoint folder, model of the"
    " warehouse, or hub id. With counts, a domain gets credit only for text that the model does"
    " not predict well yet.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with the training settings of the planned runs.",
)
@click.option(
    "--groups", type=click.IntRange(min=2), help="Maximum number of domain groups to probe. Default: 40."
)
@click.option("--steps", type=click.IntRange(min=4), help="Steps per probe. Default: 4 (a quarter of a run).")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Samples of the planned run, as in mix plan; a probe draws a quarter of them. Default: all of"
    " the dataset's.",
)
@click.option(
    "--max-hours",
    type=FiniteFloat(),
    help="Time limit in hours. To meet it, probes group domains, and gradients read less text. Default:"
    " 1 for gradients.",
)
@click.option(
    "--export",
    "export_to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write probe mixtures and an empty score table for your own trainer. Nothing is trained.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Your own trainer's scores (probe, objective, score; .csv, .jsonl or .parquet), in the folder"
    " of the probes.json that --export wrote.",
)
@click.option("--name", help="Name of the effects. Default: made from the inputs.")
@click.option(
    "--master",
    envvar="DMIX_MASTER",
    show_envvar=True,
    metavar="URL",
    help="Spark master for counting a dataset that is too large for one machine. Default: this process.",
)
@unscreened_option
@json_option
@dry_run_option
@calls_workflow
def probe() -> Workflow:
    """Measure which domain helps which objective, before a run.

    The table shows each objective's gain, in nats per token, when a tenth of the mixture moves from
    natural mixing to the domain. The warehouse keeps the effects (views effects and effect_objectives);
    'dmix mix plan' turns them into a mixture.

    Example: dmix mix probe --environment environment.yaml
    """
    from dmix.cli.workflows.effects.probe import probe_effects

    return probe_effects
