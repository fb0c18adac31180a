"""How long training would take on this machine, by arithmetic: nothing is built or trained.

A model needs a number of operations for each token. Runs on this machine keep how many they did per
second. Before the first run of such a size, one matrix product of some tenths of a second says how fast
the machine multiplies; the real time was within a factor of two of this. All speeds are those of idle
cores: `dmix.training.model.estimate.load` says how much longer it takes now.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from dmix.training.model.estimate.load import numerical_threads, slowdown
from dmix.training.model.estimate.machine import fastest_speed, keep_speed, kept_speed, known_speed
from dmix.training.model.estimate.shapes import ModelShape
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.gpus import has_gpu

# Share of the speed of a matrix product that training reaches: 0.48 to 0.79 with one thread for
# LLaMAs of 0.6 to 135 million weights (docs/log.md).
_EFFICIENCY = 0.5


@dataclass(frozen=True)
class Speed:
    """What a model is and how fast it trains here, in one process.

    Attributes:
        parameters: Number of weights.
        tokens_per_second: Tokens of forward and backward passes.
    """

    parameters: int
    tokens_per_second: float

    def hours(self, tokens: int) -> float:
        """Hours for that many tokens, scoring and checkpoints left out."""
        return tokens / self.tokens_per_second / 3600


def estimated_speed(shape: ModelShape, *, seq_len: int, bf16: bool = False, kept: bool = True) -> Speed:
    """Speed of a model by its shape, for samples of L tokens; `bf16` and `kept` as of `training_speed`."""
    operations = shape.operations_per_token(seq_len)
    return Speed(shape.parameters, training_speed(operations, bf16=bf16, kept=kept))


def trains_in_bf16(training: TrainingSettings) -> bool:
    """Whether this machine would train in bf16."""
    return training.precision == "bf16" or (training.precision == "auto" and has_gpu())


def training_speed(operations_per_token: float, *, bf16: bool = False, kept: bool = True) -> float:
    """Tokens per second for a model that needs that many floating-point operations for each of them.

    Args:
        operations_per_token: Of forward and backward passes.
        bf16: Whether a processor computes in bf16; a GPU always does.
        kept: Use what was measured before; not where this process has fewer threads for a while.
    """
    measured = known_speed(_training_kind(operations_per_token, bf16=bf16)) if kept else None
    if measured is not None:
        return measured / operations_per_token
    return _EFFICIENCY * _matrix_operations_per_second(bf16=bf16, kept=kept) / operations_per_token


def keep_training_speed(operations_per_token: float, tokens_per_second: float, *, bf16: bool) -> None:
    """Keeps how fast a model trained on this machine, for models of about its size.

    Args:
        operations_per_token: Of forward and backward passes.
        tokens_per_second: On idle cores.
        bf16: As of `training_speed`.
    """
    kind = _training_kind(operations_per_token, bf16=bf16)
    keep_speed(kind, tokens_per_second * operations_per_token)


def _training_kind(operations_per_token: float, *, bf16: bool) -> str:
    """Kind of work by device, precision and size: small models reach less of the machine's speed."""
    size = round(2 * math.log10(max(1.0, operations_per_token))) / 2
    return f"training {'gpu' if has_gpu() else 'bf16' if bf16 else 'fp32'} 1e{size:g}"


def _matrix_operations_per_second(*, bf16: bool, kept: bool) -> float:
    """Floating-point operations per second of a matrix product, on the GPU where there is one."""
    if has_gpu():
        return kept_speed("gpu", _gpu_operations_per_second)
    if bf16:  # with torch, whose import takes seconds
        return kept_speed("bf16", _bf16_operations_per_second)
    import numpy as np

    square_ = np.ones((1024, 1024), dtype=np.float32)

    def measure() -> float:
        threads = numerical_threads() if kept else None
        return _timed(lambda: square_ @ square_, operations=2 * 1024**3, threads=threads)

    return fastest_speed("fp32", measure) if kept else measure()


def _gpu_operations_per_second() -> float:
    import torch

    square = torch.ones((8192, 8192), device="cuda", dtype=torch.bfloat16)

    def product() -> None:
        torch.mm(square, square)
        torch.cuda.synchronize()

    return _timed(product, operations=2 * 8192**3)


def _bf16_operations_per_second() -> float:
    import torch

    square = torch.ones((1024, 1024), dtype=torch.bfloat16)
    threads = torch.get_num_threads()
    return _timed(lambda: torch.mm(square, square), operations=2 * 1024**3, threads=threads)


def _timed(product: Callable[[], object], *, operations: float, threads: int | None = None) -> float:
    """Operations per second of the fastest of some products, as on idle cores.

    Args:
        product: Computes one.
        operations: Of one.
        threads: Threads of a processor that compute it. If other processes use its cores, the time of the
            processor counts, not that of the clock. None where the clock is right.
    """
    product()
    busy = threads is not None and slowdown(threads) > 1
    started, fastest, done = time.perf_counter(), float("inf"), 0
    while done < 3 or time.perf_counter() - started < 0.2:
        before, used = time.perf_counter(), time.process_time()
        product()
        seconds = time.perf_counter() - before
        if busy:
            seconds = min(seconds, (time.process_time() - used) / (threads or 1))
        fastest = min(fastest, seconds)
        done += 1
    return operations / fastest
