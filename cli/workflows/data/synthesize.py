"""A source corpus that a model writes: `dmix etl synthesize`."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dmix.cli.show.result import Result
from dmix.etl.synthetic.source_models import check_there
from dmix.etl.synthetic.without_torch import leave_torch_out
from dmix.training.run.watching.progress import duration
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    from dmix.etl.quality.settings import QualitySettings
    from dmix.etl.spark.executors import Automatic
    from dmix.etl.synthetic.generation_settings import GenerationSettings
    from dmix.etl.synthetic.synthesize import Synthesis, SynthesisPlan


def synthesize_text(
    *,
    model: str,
    out: Path,
    tokens: int | None = None,
    documents: str | None = None,
    generation: "GenerationSettings",
    quality: "QualitySettings",
    bandwidth: float | None = None,
    executor: "Automatic",
    dry_run: bool = False,
    progress: Progress,
) -> Result:
    """Lets a model write documents from its start token; the result's value counts them, or is the plan.

    Args:
        model: Path or hub id of the causal language model that writes the documents.
        out: Folder for the documents.
        tokens: Budget: smallest number of tokens to write, including dropped documents.
        documents: Instead of a budget: `FIRST:STOP`, the indexes of the documents to write.
        generation: How the model writes.
        quality: Which documents are dropped.
        bandwidth: Memory bandwidth in GB/s to compare the speed with; measured when left out.
        executor: Runs the tasks.
        dry_run: Plan, and write nothing.
        progress: Receives lines for people.

    Raises:
        NotFoundError: If there is no such model.
        InputError: If neither or both of a budget and a range are given, or the range is none.
    """
    if bandwidth is not None and bandwidth <= 0:
        raise InputError(f"--bandwidth is {bandwidth}, expected above 0")
    span = _range(documents)
    check_there(model)
    if dry_run:
        leave_torch_out(model)
    from dmix.etl.synthetic import synthesize as job
    from dmix.etl.synthetic.bandwidth import copy_bandwidth

    plan = job.plan_synthesis(
        model,
        out=out.absolute(),
        settings=generation,
        quality=quality,
        tokens=tokens,
        documents=span,
        processes=job.local_processes(executor.master),
    )

    def measured() -> float:
        return copy_bandwidth() if bandwidth is None else bandwidth * 1e9

    if dry_run:
        return _plan_result(plan, bandwidth=measured())
    from dmix.etl.spark.tasks import run_tasks

    run = functools.partial(run_tasks, executor)
    made = job.synthesize(plan, run=run, progress=progress, bandwidth=measured)
    return _made_result(made, {"out": str(out), **job.summary(made)})


def _range(documents: str | None) -> tuple[int, int] | None:
    if documents is None:
        return None
    first, colon, stop = documents.partition(":")
    if not (colon and first.isdecimal() and stop.isdecimal()):
        raise InputError(f"--documents is {documents!r}, expected FIRST:STOP, for example 0:6400")
    return int(first), int(stop)


def _plan_result(plan: "SynthesisPlan", *, bandwidth: float) -> Result:
    settings, budget = plan.job.settings, plan.tokens is not None
    limit = bandwidth / plan.need.read * settings.block_documents
    most = len(plan.blocks) * settings.block_documents * plan.model.max_tokens
    tokens = plan.tokens if plan.tokens is not None else most
    value: dict[str, Any] = {
        "model": plan.model.name,
        "start_id": plan.model.start_id,
        "max_tokens": plan.model.max_tokens,
        "tokens": tokens,
        "blocks": len(plan.blocks),
        "block_documents": settings.block_documents,
        "memory_bytes": plan.need.total,
        "limit_tokens_per_second": limit,
    }
    seconds = tokens / limit
    result = Result({**value, "least_hours": seconds / 3600}, plan)
    result.table(list(value), [list(value.values())], title="plan")
    words = "at least" if budget else "exactly"
    result.line(
        f"{words} {num_text(len(plan.blocks), 'block')}, in {duration(seconds)} or more. The memory "
        "bandwidth of "
        f"{bandwidth / 1e9:,.1f} GB/s limits one process to {limit:,.0f} tokens/s"
    )
    return result


def _made_result(made: "Synthesis", value: dict[str, Any]) -> Result:
    facts = made.facts
    row = {
        "documents": facts.generated,
        "kept": facts.kept,
        "share kept": facts.share_kept,
        "empty": facts.empty,
        "cut at the maximum length": facts.capped,
        "tokens": facts.tokens,
        "tokens kept": facts.tokens_kept,
    }
    result = Result(value, made)
    title = f"{value['out']}: {num_text(made.blocks, 'block')}, {made.made:,} of them new"
    result.table(list(row), [list(row.values())], title=title)
    if made.speed:
        speed = made.speed
        result.line(
            f"speed: {speed.tokens_per_second:,.0f} tokens per second in each process; the memory of this "
            f"machine would allow {speed.limit:,.0f}"
        )
    poor = facts.generated - facts.kept - facts.empty
    if poor > facts.generated / 2:
        result.line(
            f"dmix dropped {poor:,} of {num_text(facts.generated, 'document')}, as their quality is low. "
            "A model that has read little text writes such documents; to keep them, give --quality none and "
            "another --out"
        )
    result.line(f"next: dmix etl classify --source {value['out']}")
    return result
