"""What an executor gives back, and how a worker makes it; imported by every worker, so it is light."""

import gc
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from dmix.warehouse_schema.errors import DmixError

T = TypeVar("T")
Task = Callable[[T], Any]

WORKER_DIED = "WorkerDied"
"""Value of `Outcome.error` for an item whose worker process ended each time that it was tried, alone, too."""


class Outcome(NamedTuple):
    """What became of one item.

    Attributes:
        error: Class name of the `DmixError` that the task raised, or `WORKER_DIED`; None for none.
        value: JSON of what the task returned, or the message of the error.
    """

    error: str | None
    value: str


class Executor(Protocol):
    """Runs tasks. Nothing is started before the first one."""

    def run(self, task: Task[T], items: Sequence[T], *, size_bytes: int = 0) -> list[Outcome]:
        """Outcomes of `task` for all items, in their order.

        Args:
            task: Must be picklable and return a plain JSON value; may run more than once for an item,
                also at the same time. A `DmixError` is an outcome; anything else is tried again some
                times and then raised.
            items: Picklable, at least one.
            size_bytes: What the tasks read, for an executor that has to choose.

        Raises:
            ClusterError: If the workers cannot be started, or nothing runs any more.
        """
        ...

    def completed(self) -> int:
        """Tasks that the running job has finished; 0 where that is not known."""
        ...


def outcome(task: Task[T], item: T) -> Outcome:
    """Runs one task here; an error that is meant for people becomes a value."""
    try:
        return Outcome(None, json.dumps(task(item)))
    except DmixError as raised:
        return Outcome(type(raised).__name__, raised.message)


_imported = 0
"""Modules that were loaded when this worker last looked."""


def spare_imports() -> None:
    """Takes what imports have made out of garbage collection.

    Spark's daemon collects garbage after every task, which takes 60 ms in a worker that has
    loaded torch: longer than many tasks.
    """
    global _imported
    if len(sys.modules) > _imported:
        _imported = len(sys.modules)
        gc.collect()
        gc.freeze()
