"""How fast a run trains, kept for later estimates of time on this machine."""

import time
from collections.abc import Callable

import torch
from composer import Callback, Logger, State

from dmix.training.model.estimate.speed import keep_training_speed
from dmix.warehouse_schema.files.processes import cores

# The first batches also make kernels and buffers.
_WARM_UP = 2
# A shorter time says little.
_LEAST_SECONDS = 1.0
# Of a busier machine the speed on idle cores cannot be told.
_LEAST_SHARE = 0.1


class RateMeter(Callback):
    """Times the batches of a run in one process, and keeps their speed when the run ends.

    Scores, checkpoints and waiting for data do not count. On a processor, the time is that of idle cores:
    the share of its cores that the process got is taken out.

    Args:
        operations_per_token: Of forward and backward passes of the model.
        tokens: Tokens of a batch.
        bf16: Whether a processor computes in bf16.
        on_gpu: Whether a GPU trains.
        keep: Takes operations per token and tokens per second.
    """

    def __init__(
        self,
        *,
        operations_per_token: float,
        tokens: int,
        bf16: bool,
        on_gpu: bool,
        keep: Callable[..., None] = keep_training_speed,
    ) -> None:
        self._operations, self._tokens, self._bf16 = operations_per_token, tokens, bf16
        self._on_gpu, self._keep = on_gpu, keep
        self._started: tuple[float, float] | None = None
        self._seen, self._seconds, self._processor_seconds = 0, 0.0, 0.0

    def before_train_batch(self, state: State, logger: Logger) -> None:
        """Starts the clock."""
        self._started = (time.perf_counter(), time.process_time())

    def batch_end(self, state: State, logger: Logger) -> None:
        """Adds a batch."""
        if self._started is None:
            return
        self._seen += 1
        if self._seen > _WARM_UP:
            self._seconds += time.perf_counter() - self._started[0]
            self._processor_seconds += time.process_time() - self._started[1]
        self._started = None

    def fit_end(self, state: State, logger: Logger) -> None:
        """Keeps the speed, where it was seen for long enough."""
        if self._seconds < _LEAST_SECONDS:
            return
        share = 1.0
        if not self._on_gpu:
            used = min(torch.get_num_threads(), cores())
            share = min(1.0, self._processor_seconds / self._seconds / used)
        if share >= _LEAST_SHARE:
            trained = (self._seen - _WARM_UP) * self._tokens
            self._keep(self._operations, trained / self._seconds / share, bf16=self._bf16)
