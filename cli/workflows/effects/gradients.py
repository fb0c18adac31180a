"""Effects by gradients of a model."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dmix.cli.workflows.effects.measured import Measured, ProbeRequest, measured, speed_of
from dmix.cli.workflows.effects.names import model_digest
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.mixing.effects.gradients import GradientBudget
    from dmix.mixing.effects.store import StoredEffects
    from dmix.mixing.trajectories.objectives import Environment
    from dmix.training.model.settings import ModelSettings, TrainingSettings
    from dmix.training.scoring.gradient_task import GradientTask
    from dmix.warehouse_schema.files.manifests import DatasetManifest

# Speed of gradients as a part of the speed that is timed on whole batches: items are padded and need their
# logits, a domain's batch may be one sample, and each gradient is sketched. Measured at 135M weights.
_GRADIENT_SPARE = 0.45


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientPlan:
    """What gradients will take.

    Attributes:
        task: What they are taken of.
        budget: How much text.
        parameters: Weights of the model.
        hours: Expected time.
        memory_bytes: Peak memory of the process, without what the libraries take (about 1 GiB).
    """

    task: "GradientTask"
    budget: "GradientBudget"
    parameters: int
    hours: float
    memory_bytes: int


def plan_gradients(found: Measured, request: ProbeRequest, *, dry_run: bool = False) -> GradientPlan:
    """How much text fits the time, by the speed of the model; nothing is written.

    Args:
        found: What is measured.
        request: What a user asks.
        dry_run: Estimate the speed instead of timing a few passes.

    Raises:
        InputError: If too little fits.
    """
    from dmix.training.scoring.gradient_task import budget_of

    task = gradient_task(found.warehouse, found.manifest, found.environment, request.training)
    speed = speed_of(found.model, found.manifest, request.training, dry_run=dry_run)
    hours = 1.0 if request.max_hours is None else request.max_hours
    tokens = request.tokens or hours * 3600 * speed.tokens_per_second * _GRADIENT_SPARE
    budget = budget_of(task, tokens=tokens, max_length=found.manifest.seq_len)
    vectors = int(found.space.active_N.sum()) * budget.batches + len(found.environment.objectives)
    return GradientPlan(
        task=task,
        budget=budget,
        parameters=speed.parameters,
        hours=speed.hours(budget.tokens) / _GRADIENT_SPARE,
        memory_bytes=_memory(found.model, task, vectors=vectors),
    )


def gradient_task(
    warehouse: Warehouse,
    manifest: "DatasetManifest",
    environment: "Environment",
    training: "TrainingSettings",
) -> "GradientTask":
    """Text and items of a warehouse that gradients are taken of."""
    from dmix.mixing.effects.counting import sample_rows
    from dmix.training.scoring.gradient_task import GradientTask

    return GradientTask(
        manifest=manifest,
        samples=lambda index, number: sample_rows(warehouse, manifest, manifest.streams[index], number),
        tokenizer_file=warehouse.stream(manifest.dataset) / "tokenizer.json",
        environment=environment,
        training=training,
    )


def _memory(model: "str | ModelSettings", task: "GradientTask", *, vectors: int) -> int:
    """Bytes of the passes, of the metric, of a scaled gradient, and of so many sketches.

    A pass over items keeps the logits of all its tokens; one over samples keeps them in chunks.
    """
    from dmix.training.model.estimate.memory import memory_per_rank
    from dmix.training.model.estimate.shapes import shape_of
    from dmix.training.model.estimate.speed import trains_in_bf16
    from dmix.training.scoring.gradient_task import PASS_TOKENS, SKETCH

    training, seq_len = task.training, task.manifest.seq_len
    rows = max(training.rows_at_a_time(training.batch_size), -(-PASS_TOKENS // seq_len))
    shape = shape_of(model, task.manifest)
    passes = memory_per_rank(
        shape,
        replace(training, batch_size=rows, microbatch_size=None),
        ranks=1,
        seq_len=seq_len,
        bf16=trains_in_bf16(training),
    )
    vector = 4 * shape.parameters
    sketches = 2 * vectors * 4 * min(shape.parameters, SKETCH)  # as they are made, and as one matrix
    logits = 3 * 4 * PASS_TOKENS * shape.vocabulary
    return passes.total - passes.optimizer - passes.logits + 2 * vector + sketches + logits


def probe_gradients(warehouse: Warehouse, request: ProbeRequest, *, progress: Progress) -> "StoredEffects":
    """Effects by gradients of the model as it is now."""
    from composer.utils import get_device

    from dmix.mixing.effects.gradients import error_matrices, gradient_effects
    from dmix.mixing.effects.store import StoredEffects, write_effects
    from dmix.training.model.models import load_model
    from dmix.training.run.assembly.result import OPTIMIZER_FILE
    from dmix.training.scoring.gradients import gradient_products, load_moments, rate_sum

    found = measured(warehouse, request)
    name, stored = found.already("gradient", request, progress)
    if stored is not None:
        return stored
    plan = plan_gradients(found, request)
    progress(
        f"gradients over {num_text(plan.budget.tokens, 'token')}, in about {plan.hours:.2g} hours: "
        f"{num_text(plan.budget.batches, 'batch')} of {num_text(plan.budget.samples, 'sample')} per domain"
    )
    model = get_device(None).module_to_device(load_model(found.model, found.manifest))
    moments_file = Path(found.model, OPTIMIZER_FILE) if isinstance(found.model, str) else None
    moments = load_moments(moments_file) if moments_file is not None and moments_file.is_file() else []
    products_NBD, gram_MM = gradient_products(
        model, plan.task, plan.budget, moments=moments, progress=progress
    )
    samples = request.samples or int(found.space.samples_N.sum())
    rates = rate_sum(samples, request.training)
    natural_N = found.space.natural_N
    effect_ND, stderr_ND = gradient_effects(products_NBD, gram_MM, natural_N, rate_sum=rates)
    stored = StoredEffects(
        effects=found.effects("gradient", name, effect_ND, error_matrices(stderr_ND, natural_N)),
        counts=None,
        environment=found.environment,
        facts={
            "model_digest": model_digest(found.model),
            "parameters": plan.parameters,
            "tokens": plan.budget.tokens,
            "run_samples": samples,
            "rate_sum": rates,
        },
    )
    write_effects(warehouse, stored)
    return stored
