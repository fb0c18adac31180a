"""How near writing is to the limit that memory sets: each pass over a model reads its weights once.

A batch shares a pass, so the limit in tokens a second is bandwidth / weights * documents in the
batch. Keys and values are read too, and are not counted: the share of the limit is a lower bound.
"""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from dmix.etl.synthetic.generation_tasks import BlockCost
from dmix.etl.synthetic.memory import MemoryNeed
from dmix.warehouse_schema.gpus import has_gpu

_COPY_BYTES = 256 << 20
_COPIES = 4


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What one process wrote, and could at most.

    Attributes:
        tokens_per_second: Tokens drawn a second of generation, by one process.
        bytes_per_second: Weights read a second, in bytes.
        bandwidth: Bytes a second that memory gives, stated or measured.
        limit: Tokens a second at that bandwidth with these batches.
        share: Share of the limit, from 0.
    """

    tokens_per_second: float
    bytes_per_second: float
    bandwidth: float
    limit: float
    share: float


def throughput(cost: BlockCost, need: MemoryNeed, *, bandwidth: float) -> Throughput | None:
    """The throughput of some blocks; None if nothing was written.

    Args:
        cost: What the blocks cost.
        need: Of the model.
        bandwidth: Bytes a second.
    """
    if not cost.passes or cost.seconds <= 0:
        return None
    read = cost.passes * need.read / cost.seconds
    return Throughput(
        tokens_per_second=cost.rows / cost.seconds,
        bytes_per_second=read,
        bandwidth=bandwidth,
        limit=bandwidth / need.read * cost.rows / cost.passes,
        share=read / bandwidth,
    )


def copy_bandwidth() -> float:
    """Bytes a second that one process reads and writes when it copies memory; GPU memory if there is one."""
    if not has_gpu():
        return _bandwidth_of_memory()
    import torch

    source = torch.ones(_COPY_BYTES, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        torch.cuda.synchronize()

    return _bandwidth_of(copy)


def _bandwidth_of_memory() -> float:
    """The same for the machine's memory, by as many threads as torch would take."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    threads = max(int(asked), 1) if asked.isdecimal() else os.cpu_count() or 1
    source = np.ones(_COPY_BYTES, np.uint8)
    target = np.empty_like(source)
    with ThreadPoolExecutor(threads) as pool:
        pairs = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
        return _bandwidth_of(lambda: list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs)))


def _bandwidth_of(copy: Callable[[], object]) -> float:
    best = float("inf")
    for _ in range(_COPIES):
        started = time.perf_counter()
        copy()
        best = min(best, time.perf_counter() - started)
    return 2 * _COPY_BYTES / best
