"""How long work takes on this machine, before it begins, and durations in words."""

import shutil
import time
from collections.abc import Callable

from dmix.training.run.watching.progress import duration

# Share of the limit of matrix products that training reaches here (benchmarks/farm.py).
_EFFICIENCY = 0.4
# Training costs six operations per weight and token: two forward, four backward.
_OPERATIONS = 6


def training_speed(parameters: int) -> float:
    """Tokens per second that a model of this size trains at here, from one measured matrix product."""
    return _EFFICIENCY * _matrix_operations_per_second() / (_OPERATIONS * parameters)


def _matrix_operations_per_second() -> float:
    """Floating-point operations per second of a matrix product, on the GPU where there is one."""
    if shutil.which("nvidia-smi"):
        import torch

        if torch.cuda.is_available():
            square = torch.ones((8192, 8192), device="cuda", dtype=torch.bfloat16)

            def product() -> None:
                torch.mm(square, square)
                torch.cuda.synchronize()

            return _timed(product, operations=2 * 8192**3)
    import numpy as np

    square_ = np.ones((1024, 1024), dtype=np.float32)
    return _timed(lambda: square_ @ square_, operations=2 * 1024**3)


def _timed(product: Callable[[], object], *, operations: float) -> float:
    """Operations per second of the fastest of several products, which other work delays least."""
    product()
    fastest, started, done = float("inf"), time.perf_counter(), 0
    while done < 3 or time.perf_counter() - started < 0.2:
        before = time.perf_counter()
        product()
        fastest, done = min(fastest, time.perf_counter() - before), done + 1
    return operations / fastest


def in_words(seconds: float) -> str:
    """An estimated duration in the unit that a person would say: seconds, minutes or hours."""
    return f"about {duration(seconds)}"
