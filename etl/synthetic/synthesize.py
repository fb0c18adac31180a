"""`dmix etl synthesize`: a model writes the documents of a synthetic source corpus.

What a call leaves in its folder is `block-NNNNNNNN.parquet`, one file a block, which `dmix etl
classify --source FOLDER` takes and marks synthetic, and `generation.yaml`, which says what was
done and how fast. Blocks of a budget are its shortest run of blocks, from the first, with enough
tokens. More may be in the making, since the length of documents is only known once they are
written: blocks wait in the hidden folder `.blocks` until those before them have been counted. So
a call that was killed and run again leaves the same files, and ranges of whole blocks, written
on several machines, are together what one would write.
"""

import functools
import math
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from dmix.etl.quality.judges import make_quality
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.spark.masters import DEFAULT_MASTER
from dmix.etl.synthetic.bandwidth import Throughput, throughput
from dmix.etl.synthetic.blocks import BlockFacts, block_name, finished_blocks, require_facts, total_facts
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.generation_tasks import BlockCost, GenerationJob, total_cost, write_generated_block
from dmix.etl.synthetic.memory import MemoryNeed, check_fits
from dmix.etl.synthetic.source_models import (
    SourceModel,
    check_engine,
    fetched,
    model_digest,
    precision_name,
    source_model,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json, storage_errors
from dmix.warehouse_schema.files.locks import held_lock
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.gpus import has_gpu
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.sizes import num_text

Runner = Callable[[Callable[[Any], Any], Sequence[Any]], list[Any]]
"""Runs a task for every item: `functools.partial(run_tasks, spark)`, or `run_here`."""

SUMMARY = "generation.yaml"
"""JSON, which is YAML, too; `dmix etl classify` would read a `.json` file as documents."""

_WAITING = ".blocks"


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What a call left.

    Attributes:
        facts: Of all blocks that were asked for.
        made: Blocks that this call wrote; the others were there.
        blocks: Blocks that were asked for.
        speed: Of this call; None if it wrote nothing.
    """

    facts: BlockFacts
    made: int
    blocks: int
    speed: Throughput | None


@dataclass(frozen=True, kw_only=True)
class SynthesisPlan:
    """A generation that was found to be possible; nothing is written.

    Attributes:
        model: The model.
        need: Memory of one process.
        job: What all blocks share.
        tokens: Budget; None if `blocks` says what to write.
        blocks: Numbers of the blocks of a range; for a budget, the fewest that it can take.
    """

    model: SourceModel
    need: MemoryNeed
    job: GenerationJob
    tokens: int | None
    blocks: range


def local_processes(master: str | None) -> int:
    """How many worker processes of this machine load a model under a Spark master.

    One where there is a GPU, since every process takes its own; one on a cluster, whose machines
    are not looked at from here.
    """
    found = re.match(r"local(?:\[(\*|\d+)[,\]])?", master or DEFAULT_MASTER)
    if found is None or found[1] is None or has_gpu():
        return 1
    return (os.cpu_count() or 1) if found[1] == "*" else int(found[1])


def run_here(task: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Runs tasks in this process, in order."""
    return [task(item) for item in items]


def plan_synthesis(
    model: str,
    *,
    out: Path,
    settings: GenerationSettings,
    quality: QualitySettings,
    tokens: int | None = None,
    documents: tuple[int, int] | None = None,
    processes: int = 1,
) -> SynthesisPlan:
    """What `synthesize` would do.

    Args:
        model: Folder or hub id.
        out: Folder of the blocks.
        settings: How the model writes.
        quality: Which documents are dropped.
        tokens: How many tokens to write at least, those of dropped documents included.
        documents: Instead of `tokens`, first index and one more than the last; whole blocks.
        processes: How many processes of this machine will load the model.

    Raises:
        InputError: If the model cannot write (`source_model`), does not fit into memory, the
            budget or range is empty or cuts a block, or `out` holds another generation.
        NotFoundError: If there is no such model.
        MissingDependencyError: If the engine is not installed.
    """
    if (tokens is None) == (documents is None):
        raise InputError("dmix needs either --tokens or --documents FIRST:STOP; give one of the two")
    if tokens is not None and tokens < 1:
        raise InputError(f"--tokens is {tokens}, expected at least 1")
    blocks = range(0) if documents is None else _whole_blocks(documents, settings.block_documents)
    check_engine(settings)
    found = source_model(model, settings)
    need = check_fits(found, settings, processes=processes)
    if tokens is not None:
        blocks = range(math.ceil(tokens / (found.max_tokens * settings.block_documents)))
    job = GenerationJob(
        model=model,
        settings=settings,
        quality=quality,
        digest=generation_digest(found, settings, quality),
        folder=out,
    )
    check_same_generation(out, job)
    return SynthesisPlan(model=found, need=need, job=job, tokens=tokens, blocks=blocks)


def synthesize(
    plan: SynthesisPlan, *, run: Runner, progress: Progress, bandwidth: Callable[[], float]
) -> Synthesis:
    """Writes what is missing of a generation.

    Args:
        plan: From `plan_synthesis`.
        run: Runs one task a block.
        progress: Told what happens, a line at a time.
        bandwidth: Gives the bytes a second of memory, to which speed is compared.

    Raises:
        LockHeldError: If another process writes into the folder.
        StorageError: If the disk is full or refuses.
    """
    out = plan.job.folder
    with held_lock(out / ".lock", what=f"generation {out}", of_job=True):
        if plan.tokens is None:
            cost, made = write_missing(plan.blocks, out, plan.job, run=run, progress=progress)
            blocks = plan.blocks
        else:
            cost, made, blocks = _write_budget(plan, run=run, progress=progress)
        facts = total_facts([require_facts(out / block_name(number)) for number in blocks])
        speed = throughput(cost, plan.need, bandwidth=bandwidth()) if made else None
        result = Synthesis(facts=facts, made=made, blocks=len(blocks), speed=speed)
        publish_json(out / SUMMARY, summary(result))
    return result


def summary(result: Synthesis) -> dict[str, Any]:
    """A result as plain values."""
    return {
        **asdict(result.facts),
        "share_kept": result.facts.share_kept,
        "blocks": result.blocks,
        "made": result.made,
        "speed": asdict(result.speed) if result.speed else None,
    }


def generation_digest(
    model: SourceModel, settings: GenerationSettings, quality: QualitySettings | None
) -> str:
    """Hash of all that the documents depend on beside their indices; fetches the weights."""
    judged = None if quality is None else [make_quality(quality.quality).fingerprint, quality.max_low]
    ids = [model.start_id, model.end_id, model.max_tokens, precision_name(settings)]
    return digest_of([model_digest(fetched(model)), asdict(settings), ids, judged])


def _write_budget(plan: SynthesisPlan, *, run: Runner, progress: Progress) -> tuple[BlockCost, int, range]:
    """Publishes blocks in their order until the budget is reached; (cost, blocks made, blocks)."""
    assert plan.tokens is not None
    out, waiting = plan.job.folder, plan.job.folder / _WAITING
    staged = replace(plan.job, folder=waiting)
    cost, made = BlockCost(passes=0, rows=0, seconds=0.0), 0
    number = tokens = 0
    while True:
        while tokens < plan.tokens and _published(number, out, waiting):
            tokens += require_facts(out / block_name(number)).tokens
            number += 1
        if tokens >= plan.tokens:
            break
        wave = range(number, number + _blocks_to_go(plan, number=number, tokens=tokens))
        more, count = write_missing(wave, waiting, staged, run=run, progress=progress)
        cost, made = total_cost([asdict(cost), asdict(more)]), made + count
        progress(f"{tokens:,} of {num_text(plan.tokens, 'token')}")
    with storage_errors(str(waiting)):
        shutil.rmtree(waiting, ignore_errors=True)
    return cost, made, range(number)


def _blocks_to_go(plan: SynthesisPlan, *, number: int, tokens: int) -> int:
    """How many blocks the rest of the budget takes, by the mean of those before."""
    assert plan.tokens is not None
    if not tokens:
        return len(plan.blocks)
    return max(1, math.ceil((plan.tokens - tokens) * number / tokens))


def _published(number: int, out: Path, waiting: Path) -> bool:
    """True if a block is in `out`, after it was moved there if it waited."""
    if (waiting / block_name(number)).is_file():
        with storage_errors(str(out)):
            os.replace(waiting / block_name(number), out / block_name(number))
    return (out / block_name(number)).is_file()


def write_missing(
    numbers: Iterable[int], folder: Path, job: GenerationJob, *, run: Runner, progress: Progress
) -> tuple[BlockCost, int]:
    """Writes the blocks that are not in `folder`; (cost, number of blocks written).

    Raises:
        InputError: If workers wrote them where this machine does not see them.
    """
    missing = sorted(set(numbers) - set(finished_blocks(folder)))
    if missing:
        progress(
            f"writing {num_text(len(missing), 'block')} of "
            f"{num_text(job.settings.block_documents, 'document')}"
        )
    cost = total_cost(run(functools.partial(write_generated_block, job=job), missing))
    if not set(missing) <= set(finished_blocks(folder)):
        raise InputError(
            f"blocks from workers are missing in {folder} on this machine; give a folder that all "
            "machines share, or give each machine a range with --documents and a local --master"
        )
    return cost, len(missing)


def _whole_blocks(documents: tuple[int, int], block_documents: int) -> range:
    first, stop = documents
    if not 0 <= first < stop or first % block_documents or stop % block_documents:
        raise InputError(
            f"--documents is {first}:{stop}, expected FIRST:STOP with FIRST below STOP, both multiples "
            f"of --block-documents ({block_documents})"
        )
    return range(first // block_documents, stop // block_documents)


def check_same_generation(out: Path, job: GenerationJob) -> None:
    """Refuses a folder with blocks of another model, seed or other settings.

    Raises:
        InputError: If there is one.
    """
    for folder in (out, out / _WAITING):
        for number in finished_blocks(folder):
            if require_facts(folder / block_name(number)).digest != job.digest:
                raise InputError(
                    f"{folder} has documents with another model, seed or other settings "
                    f"({block_name(number)}); choose another --out, or remove these documents"
                )
