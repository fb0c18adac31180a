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
    help="'counts': compare the bigrams (word pairs) of each domain with the items; this takes"
    " seconds and needs no model. 'gradient': compare gradients of your model; this takes"
    " about an hour. 'probe': train short runs of your model, each with more of one"
    " domain.",
)
@click.option(
    "--model",
    metavar="PATH|HUB-ID",
    help="Model to measure with --estimator gradient or probe: model file (.yaml), checkpoint"
    " folder, model of the warehouse, or hub id. If given with --estimator counts, a"
    " domain gets credit only for text that the model does not predict well yet.",
)
@click.option(
    "--training",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="YAML file with the training settings of the planned runs.",
)
@click.option(
    "--groups",
    type=click.IntRange(min=2),
    help="Maximum number of probes, without the controls. With more domains, a probe covers a"
    " group of domains. Default: 40.",
)
@click.option("--steps", type=click.IntRange(min=4), help="Steps per probe. Default: 4 (a quarter of a run).")
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    help="Number of samples of the planned run, as in 'dmix mix plan'; a probe draws a quarter"
    " of them. Default: all samples of the dataset.",
)
@click.option(
    "--max-hours",
    type=FiniteFloat(),
    help="Time limit in hours. To meet it, dmix probes groups of domains (--estimator probe)"
    " or reads less text (--estimator gradient). Default: 1 for gradient, none for probe.",
)
@click.option(
    "--export",
    "export_to",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the mixtures of the probes and an empty table of scores, so that your own"
    " trainer can run the probes. dmix trains nothing.",
)
@click.option(
    "--scores",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="File with your own trainer's scores (.csv, .jsonl or .parquet with the columns"
    " probe, objective and score). It must be in the folder of --export, beside"
    " probes.json.",
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

    The table has a row per domain: each objective's gain, in nats per token, when a tenth of the mixture
    moves from natural mixing to this domain. The warehouse keeps these effects (views 'effects' and
    'effect_objectives'); 'dmix mix plan' turns them into a mixture.

    Example: dmix mix probe --environment environment.yaml
    """
    from dmix.cli.workflows.effects.probe import probe_effects

    return probe_effects
