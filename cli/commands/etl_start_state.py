"""`dmix etl start-state`: shares of domains, counted in a dataset or told by a model."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dmix.cli.show.options import (
    config_option,
    dataset_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
    warehouse_option,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.cli.show.result import show_result
from dmix.cli.workflows.data.shard import dataset_result
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import check_there
from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic
    from dmix.etl.synthetic.start_state.estimate import StartStateEstimate
    from dmix.etl.synthetic.start_state.plan import StartStatePlan


@click.command("start-state")
@config_option
@warehouse_option
@dataset_option
@click.option(
    "--from",
    "origin",
    type=click.Choice(("corpus", "model")),
    default="corpus",
    show_default=True,
    help="corpus: count the documents and samples of a dataset. model: classify text that a model writes.",
)
@click.option(
    "--model", metavar="PATH|HUB-ID", help="Causal language model that writes the text; with --from model."
)
@click.option("--name", help="Name of the model's estimate. Default: the last part of --model.")
@settings_options(StartStateSettings)
@settings_options(GenerationSettings, parameter="generation")
@executor_options
@json_option
@dry_run_option
def start_state(
    *,
    warehouse: Warehouse,
    dataset: str | None,
    origin: str,
    model: str | None,
    name: str | None,
    settings: StartStateSettings,
    generation: GenerationSettings,
    executor: "Automatic",
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Show each domain's share of its field, in documents and in samples.

    With --from model, the command classifies documents that a model writes from its start token. It
    stops when the bootstrap bound of the KL is small enough (--kl-bound). The views start_state,
    start_state_estimates and start_state_convergence show the estimate, its intervals and its
    convergence. With --dataset, the convergence includes the distance to that dataset's source field.

    Example: dmix etl start-state --dataset small
    """
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    if origin == "corpus":
        if model is not None:
            raise InputError("--model goes with --from model; add it, or leave --model out")
        show_result(dataset_result(read_dataset_manifest(warehouse.require(), dataset)), as_json=as_json)
        return
    if model is None:
        raise InputError("--from model needs --model PATH|HUB-ID")
    check_there(model)
    import functools

    from dmix.etl.spark.tasks import run_tasks
    from dmix.etl.synthetic.start_state.job import estimate_start_state
    from dmix.etl.synthetic.start_state.plan import plan_start_state
    from dmix.etl.synthetic.synthesize import local_processes
    from dmix.warehouse_schema.catalog.catalog import sync_at_end
    from dmix.warehouse_schema.taxonomy import slug

    plan = plan_start_state(
        warehouse,
        model,
        name=name or slug(model.rstrip("/").rpartition("/")[2]),
        settings=settings,
        generation=generation,
        manifest=read_dataset_manifest(warehouse.require(), dataset) if dataset is not None else None,
        processes=local_processes(executor.master),
    )
    if dry_run:
        _show_plan(plan, as_json=as_json)
        return
    warehouse.root.mkdir(parents=True, exist_ok=True)
    estimate = estimate_start_state(plan, run=functools.partial(run_tasks, executor), progress=say)
    sync_at_end(warehouse, warn=say)
    show_json(asdict(estimate)) if as_json else _show(estimate)


def _show_plan(plan: "StartStatePlan", *, as_json: bool) -> None:
    value = {
        "name": plan.name,
        "model": plan.model.name,
        "classifier": plan.classifier.name,
        "max_tokens": plan.model.max_tokens,
        "min_documents": plan.settings.min_documents,
        "max_documents": plan.settings.max_documents,
        "kl_bound": plan.settings.kl_bound,
    }
    if as_json:
        show_json(value)
    else:
        show_table(list(value), [list(value.values())], title="plan")


def _show(estimate: "StartStateEstimate") -> None:
    columns = ["domain", "documents", "document share", "low", "high", "token share", "low", "high"]
    rows = [
        (
            d.domain,
            d.documents,
            d.document_weight,
            d.document_low,
            d.document_high,
            d.token_weight,
            d.token_low,
            d.token_high,
        )
        for d in estimate.domains
        if d.documents
    ]
    show_table(columns, rows, title=f"start state of {estimate.model} (model:{estimate.name})")
    met = (
        "met"
        if estimate.converged
        else f"NOT met after the largest number of documents ({estimate.generated:,})"
    )
    say(
        f"{estimate.documents:,} documents ({estimate.empty:,} more were empty); KL bound"
        f" {estimate.divergence_bound:.4f} at {estimate.confidence:.0%}, wanted"
        f" {estimate.kl_bound:g}: {met}. {estimate.capped:,} documents were cut at"
        f" {estimate.max_tokens:,} tokens, which biases token shares, but not document shares"
    )
