"""Shares of domains, counted in a dataset or told by a model: `dmix etl start-state`."""

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.cli.workflows.data.shard import dataset_result
from dmix.etl.synthetic.source_models import check_there
from dmix.etl.synthetic.without_torch import leave_torch_out
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic
    from dmix.etl.synthetic.generation_settings import GenerationSettings
    from dmix.etl.synthetic.start_state.estimate import StartStateEstimate
    from dmix.etl.synthetic.start_state.plan import StartStatePlan
    from dmix.etl.synthetic.start_state.settings import StartStateSettings


def show_start_state(
    warehouse: Warehouse,
    *,
    dataset: str | None = None,
    origin: str = "corpus",
    model: str | None = None,
    name: str | None = None,
    settings: "StartStateSettings",
    generation: "GenerationSettings",
    executor: "Automatic",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Each domain's share of its field; the value is the dataset's manifest, the estimate or its plan.

    Args:
        warehouse: Where the dataset is and an estimate goes.
        dataset: Id or name; may be left out when there is one, or with a model.
        origin: `corpus` counts a dataset, `model` classifies text that a model writes.
        model: Path or hub id of the causal language model that writes the text.
        name: Name of the model's estimate; the last part of `model` when left out.
        settings: When the estimate is good enough.
        generation: How the model writes.
        executor: Runs the tasks.
        dry_run: Plan an estimate, and write nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If the dataset or model does not exist.
        InputError: If a model is given without `from model`, or the other way round.
    """
    from dmix.warehouse_schema.files.manifests import read_dataset_manifest

    if origin not in ("corpus", "model"):
        raise InputError(f"--from is {origin!r}, expected corpus or model")
    if origin == "corpus":
        if model is not None:
            raise InputError("--model needs --from model; add --from model, or leave --model out")
        return dataset_result(read_dataset_manifest(warehouse.require(), dataset))
    if model is None:
        raise InputError("--from model needs --model PATH|HUB-ID")
    check_there(model)
    if dry_run:
        leave_torch_out(model)
    from dmix.etl.synthetic.start_state.plan import plan_start_state
    from dmix.etl.synthetic.synthesize import local_processes
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
        return _plan_result(plan)
    from dmix.etl.spark.tasks import run_tasks
    from dmix.etl.synthetic.start_state.job import estimate_start_state
    from dmix.warehouse_schema.catalog.sync import sync_at_end

    warehouse.root.mkdir(parents=True, exist_ok=True)
    estimate = estimate_start_state(plan, run=functools.partial(run_tasks, executor), progress=progress)
    sync_at_end(warehouse, warn=progress)
    return _estimate_result(estimate)


def _plan_result(plan: "StartStatePlan") -> Result:
    value = {
        "name": plan.name,
        "model": plan.model.name,
        "classifier": plan.classifier.name,
        "max_tokens": plan.model.max_tokens,
        "min_documents": plan.settings.min_documents,
        "max_documents": plan.settings.max_documents,
        "kl_bound": plan.settings.kl_bound,
    }
    result = Result(value, plan)
    result.table(list(value), [list(value.values())], title="plan")
    return result


def _estimate_result(estimate: "StartStateEstimate") -> Result:
    result = Result(asdict(estimate), estimate)
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
    result.table(columns, rows, title=f"start state of {estimate.model} (model:{estimate.name})")
    met = (
        "met"
        if estimate.converged
        else f"NOT met after the maximum of {num_text(estimate.generated, 'document')}"
    )
    result.line(
        f"{num_text(estimate.documents, 'document')}, and {num_text(estimate.empty, 'empty one')}; KL bound "
        f"{estimate.divergence_bound:.4f} at {estimate.confidence:.0%}, requested {estimate.kl_bound:g}: "
        f"{met}. dmix cut {num_text(estimate.capped, 'document')} at "
        f"{num_text(estimate.max_tokens, 'token')}. This biases "
        "shares of tokens, but not shares of documents"
    )
    return result
