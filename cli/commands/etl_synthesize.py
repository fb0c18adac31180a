"""`dmix etl synthesize`: a model writes a source corpus; `dmix.cli.commands.etl` adds it to its group."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dmix.cli.show.options import (
    FiniteFloat,
    config_option,
    dry_run_option,
    executor_options,
    json_option,
    settings_options,
)
from dmix.cli.show.output import say, show_json, show_table
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import check_there
from dmix.warehouse_schema.errors import InputError

if TYPE_CHECKING:
    from dmix.etl.spark.executors import Automatic
    from dmix.etl.synthetic.synthesize import Synthesis, SynthesisPlan


@click.command()
@config_option
@click.option(
    "--model", required=True, metavar="PATH|HUB-ID", help="Causal language model that writes the documents."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="Folder for the documents."
)
@click.option(
    "--tokens", type=int, help="Budget: smallest number of tokens to write, including dropped documents."
)
@click.option(
    "--documents",
    metavar="FIRST:STOP",
    help="Instead of a budget: index range of the documents to write, in whole blocks. Use it to divide"
    " the work between machines.",
)
@settings_options(GenerationSettings, parameter="generation")
@settings_options(QualitySettings, parameter="quality")
@click.option(
    "--bandwidth",
    type=FiniteFloat(),
    metavar="GB/S",
    help="Memory bandwidth to compare the speed with. Default: measured here.",
)
@executor_options
@json_option
@dry_run_option
def synthesize(
    *,
    model: str,
    out: Path,
    tokens: int | None,
    documents: str | None,
    generation: GenerationSettings,
    quality: QualitySettings,
    bandwidth: float | None,
    executor: "Automatic",
    as_json: bool,
    dry_run: bool,
    config: str | None,
) -> None:
    """Let a model write documents from its start token, if the source data is unavailable.

    dmix samples text at temperature 1. A document depends only on the model, the seed and its index.
    Empty documents and those of low quality are dropped and counted. Give the folder to 'dmix etl
    classify --source', which marks the corpus as synthetic. If the command is killed, run it again to
    resume. Several machines that write separate ranges produce the same text as one.

    Each Spark task writes a block, and each worker process loads the model: use --master local[2,3] for
    two processes, and one process per GPU.

    Example: dmix etl synthesize --model EleutherAI/pythia-1.4b --tokens 10000000 --out spoken
    """
    if bandwidth is not None and bandwidth <= 0:
        raise InputError(f"--bandwidth is {bandwidth}, expected above 0")
    span = _range(documents)
    check_there(model)
    import functools

    from dmix.etl.spark.tasks import run_tasks
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
        _show_plan(plan, bandwidth=measured(), as_json=as_json)
        return
    run = functools.partial(run_tasks, executor)
    result = job.synthesize(plan, run=run, progress=say, bandwidth=measured)
    if as_json:
        show_json({"out": str(out), **job.summary(result)})
    else:
        _show(result, out)


def _range(documents: str | None) -> tuple[int, int] | None:
    if documents is None:
        return None
    first, colon, stop = documents.partition(":")
    if not (colon and first.isdecimal() and stop.isdecimal()):
        raise InputError(f"--documents is {documents!r}, expected FIRST:STOP, for example 0:6400")
    return int(first), int(stop)


def _show_plan(plan: "SynthesisPlan", *, bandwidth: float, as_json: bool) -> None:
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
        "least_hours": tokens / limit / 3600,
    }
    if as_json:
        show_json(value)
        return
    from dmix.training.run.watching.progress import duration

    hours = value.pop("least_hours")
    show_table(list(value), [list(value.values())], title="plan")
    words = "at least" if budget else "exactly"
    say(
        f"{words} {len(plan.blocks):,} blocks, {duration(3600 * hours)} or more: memory of"
        f" {bandwidth / 1000000000.0:,.1f} GB/s limits one process to {limit:,.0f} tokens/s"
    )


def _show(result: "Synthesis", out: Path) -> None:
    facts = result.facts
    show_table(
        ["documents", "kept", "share kept", "empty", "cut at the cap", "tokens", "tokens kept"],
        [
            (
                facts.generated,
                facts.kept,
                facts.share_kept,
                facts.empty,
                facts.capped,
                facts.tokens,
                facts.tokens_kept,
            )
        ],
        title=f"{out}: {result.blocks:,} blocks, {result.made:,} of them new",
    )
    if result.speed:
        speed = result.speed
        say(
            f"{speed.tokens_per_second:,.0f} tokens/s per process, {speed.share:.0%} of the"
            f" {speed.limit:,.0f} that {speed.bandwidth / 1e9:,.1f} GB/s of memory allow"
        )
    say(f"next: dmix etl classify --source {out}")
