"""Writing one block in a worker process: the model is loaded once, the block is published whole."""

import functools
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

import numpy as np

from dmix.etl.quality.judges import NO_QUALITY, make_quality
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.synthetic.blocks import BlockFacts, block_name, write_block
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.memory import check_fits
from dmix.etl.synthetic.source_models import SourceModel, fetched, load_network, source_model

if TYPE_CHECKING:
    from filelock import BaseFileLock

    from dmix.etl.synthetic.generation import BlockWriter, GeneratedBlock, GeneratedDocument

_held_gpus: list["BaseFileLock"] = []
"""Locks of this process, held as long as it lives."""


@dataclass(frozen=True, kw_only=True)
class GenerationJob:
    """What all blocks of a generation share, small enough to send to every task.

    Attributes:
        model: Folder or hub id.
        settings: How it writes.
        quality: What is dropped; None keeps all, text or none.
        digest: Hash of the model's files and of all settings that the blocks depend on.
        folder: Where the blocks go.
    """

    model: str
    settings: GenerationSettings
    quality: QualitySettings | None
    digest: str
    folder: Path


@dataclass(frozen=True, kw_only=True)
class BlockCost:
    """What writing blocks cost.

    Attributes:
        passes: Passes over the model.
        rows: Documents in the batch, summed over passes.
        seconds: Time of the passes, summed over processes.
    """

    passes: int
    rows: int
    seconds: float


def block_indices(number: int, *, block_documents: int) -> range:
    """Indices of the documents of block `number`."""
    return range(number * block_documents, (number + 1) * block_documents)


def write_generated_block(number: int, job: GenerationJob) -> dict[str, Any]:
    """Writes block `number` and publishes it; returns a `BlockCost` as a plain value."""
    model, writer = _loaded(job.model, job.settings)
    indices = block_indices(number, block_documents=job.settings.block_documents)
    block = writer(model, indices, seed=job.settings.seed)
    kept, low = _kept(block, job)
    facts = _facts(block, kept, model, job, indices)
    write_block(job.folder / block_name(number), kept, facts, probability_low=low)
    return asdict(BlockCost(passes=block.passes, rows=block.rows, seconds=block.seconds))


def total_cost(values: list[Mapping[str, Any]]) -> BlockCost:
    """The sum of what `write_generated_block` returned."""
    return BlockCost(**{name: sum(v[name] for v in values) for name in ("passes", "rows", "seconds")})


def _kept(
    block: "GeneratedBlock", job: GenerationJob
) -> tuple["list[GeneratedDocument]", np.ndarray[Any, np.dtype[np.float32]] | None]:
    """The documents that go into the file and, if they were judged, their P(Low)."""
    if job.quality is None:
        return list(block.documents), None
    written = [document for document in block.documents if not document.text.isspace() and document.text]
    judged = make_quality(job.quality.quality).judge([document.text for document in written])
    keep = judged.kept(max_low=job.quality.max_low)
    return [d for d, k in zip(written, keep, strict=True) if k], judged.probability_low[keep]


def _facts(
    block: "GeneratedBlock",
    kept: "list[GeneratedDocument]",
    model: SourceModel,
    job: GenerationJob,
    indices: range,
) -> BlockFacts:
    return BlockFacts(
        # of a folder its name alone, or files would differ by where a machine keeps the model
        model=Path(model.folder).name if Path(model.folder).is_dir() else job.model,
        digest=job.digest,
        seed=job.settings.seed,
        max_tokens=model.max_tokens,
        quality=job.quality.quality if job.quality else NO_QUALITY,
        first=indices.start,
        stop=indices.stop,
        generated=len(block.documents),
        kept=len(kept),
        empty=sum(not d.text or d.text.isspace() for d in block.documents),
        capped=sum(not document.ended for document in block.documents),
        tokens=block.tokens,
        tokens_kept=sum(document.tokens for document in kept),
    )


@functools.lru_cache(maxsize=1)
def _loaded(name: str, settings: GenerationSettings) -> tuple[SourceModel, "BlockWriter"]:
    """The model of this process, and what writes with it."""
    device = own_device()
    model = source_model(name, settings)
    if settings.engine == "vllm":
        from dmix.etl.synthetic.vllm_engine import vllm_writer

        return model, vllm_writer(fetched(model), settings)
    from dmix.etl.synthetic.generation import generate_block

    check_fits(model, settings)
    network = load_network(fetched(model), settings, device=device)
    return model, functools.partial(generate_block, network)


def gpu_lock(number: int) -> Path:
    """The file that the worker which has GPU `number` of this machine holds."""
    return Path(gettempdir(), f"dmix-generation-gpu-{number}-{os.getuid()}.lock")


def own_device() -> str:
    """`cpu`, or a GPU that no other worker of this machine has taken; shared once all are taken."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if not count:
        return "cpu"
    from filelock import FileLock, Timeout

    chosen = os.getpid() % count
    for number in range(count):
        lock = FileLock(gpu_lock(number))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        _held_gpus.append(lock)
        chosen = number
        break
    torch.cuda.set_device(chosen)
    return f"cuda:{chosen}"
