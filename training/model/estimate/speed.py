"""How long training would take on this machine, by arithmetic: nothing is built or trained.

One matrix product of some tenths of a second says how fast the machine multiplies; a model needs
a number of operations for each token. The real time was within a factor of two of this.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from dmix.training.model.estimate.machine import kept_speed
from dmix.training.model.estimate.memory import has_gpu
from dmix.training.model.estimate.shapes import ModelShape
from dmix.training.model.settings import TrainingSettings

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


def estimated_speed(shape: ModelShape, *, seq_len: int, bf16: bool = False) -> Speed:
    """Speed of a model by its shape, for samples of L tokens; `bf16` as of `training_speed`."""
    return Speed(shape.parameters, training_speed(shape.operations_per_token(seq_len), bf16=bf16))


def trains_in_bf16(training: TrainingSettings) -> bool:
    """Whether this machine would train in bf16."""
    return training.precision == "bf16" or (training.precision == "auto" and has_gpu())


def training_speed(operations_per_token: float, *, bf16: bool = False) -> float:
    """Tokens per second for a model that needs that many floating-point operations for each of them.

    Args:
        operations_per_token: Of forward and backward passes.
        bf16: Whether a processor computes in bf16; a GPU always does.
    """
    return _EFFICIENCY * _matrix_operations_per_second(bf16=bf16) / operations_per_token


def _matrix_operations_per_second(*, bf16: bool) -> float:
    """Floating-point operations per second of a matrix product, on the GPU where there is one."""
    if has_gpu():
        return kept_speed("gpu", _gpu_operations_per_second)
    if bf16:  # with torch, whose import takes seconds
        return kept_speed("bf16", _bf16_operations_per_second)
    import numpy as np

    square_ = np.ones((1024, 1024), dtype=np.float32)
    return _timed(lambda: square_ @ square_, operations=2 * 1024**3)


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
    return _timed(lambda: torch.mm(square, square), operations=2 * 1024**3)


def _timed(product: Callable[[], object], *, operations: float) -> float:
    """Operations per second of the fastest of some products, so that other processes count for less."""
    product()
    started, fastest, done = time.perf_counter(), float("inf"), 0
    while done < 3 or time.perf_counter() - started < 0.2:
        before = time.perf_counter()
        product()
        fastest = min(fastest, time.perf_counter() - before)
        done += 1
    return operations / fastest
