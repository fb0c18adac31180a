"""Runs a task for each item of a list, with errors for people and progress.

Where tasks run is chosen by an executor (`dmix.etl.spark.executors`); workers read and write files
themselves.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from dmix.etl.spark.executors import ExecutorLike, as_executor
from dmix.etl.spark.outcomes import WORKER_DIED
from dmix.warehouse_schema import errors
from dmix.warehouse_schema.errors import ClusterError
from dmix.warehouse_schema.progress import Progress, during
from dmix.warehouse_schema.sizes import num_text

T = TypeVar("T")

_REPORT_SECONDS = 0.5


def grouped(items: Sequence[T], *, size_of: Callable[[T], int], most_bytes: int, most: int) -> list[list[T]]:
    """Neighbours together, up to `most_bytes` or `most` items per group; a larger item is its own group.

    A Spark task costs some milliseconds before it does anything; thousands of tiny ones cost more
    than their work.
    """
    groups: list[list[T]] = []
    room = 0
    for item in items:
        size_bytes = size_of(item)
        if not groups or size_bytes > room or len(groups[-1]) == most:
            groups.append([])
            room = most_bytes
        groups[-1].append(item)
        room -= size_bytes
    return groups


def run_tasks(
    executor: ExecutorLike,
    task: Callable[[T], Any],
    items: Sequence[T],
    *,
    size_bytes: int = 0,
    died: Callable[[T], Any] | None = None,
) -> list[Any]:
    """`[task(item) for item in items]`, computed where the executor says, one task an item.

    Args:
        executor: An executor, a Spark session, or None for this process.
        task: Must be picklable (a function of a module, or a partial of one) and return a plain
            JSON value; may run more than once for an item, also at the same time.
        items: Picklable.
        size_bytes: What the tasks read, by which an executor may choose where they run.
        died: Value of an item that ends its worker process whenever it is tried; without it, that is
            an error.

    Raises:
        DmixError: The first one in the order of `items` that a task raised. The other tasks ran
            to their end.
        ClusterError: If workers died and `died` is not given, or Spark gave up.
    """
    if not items:
        return []
    runner = as_executor(executor)
    with during(lambda: f"{runner.completed():,} of {num_text(len(items), 'task', 'are')} done"):
        found = runner.run(task, items, size_bytes=size_bytes)
    values = []
    for item, one in zip(items, found, strict=True):
        if one.error is None:
            values.append(json.loads(one.value))
        elif one.error != WORKER_DIED:
            raise getattr(errors, one.error)(one.value)
        elif died is not None:
            values.append(died(item))
        else:
            raise ClusterError(
                f"a worker process ended {one.value} twice, the second time with only one task. Most "
                "likely memory ran out, or a library crashed on the input. Free some memory and run the "
                "same command again to resume"
            )
    return values


def completed_tasks(executor: ExecutorLike) -> int:
    """Tasks that the running job has finished; 0 if the executor gives no count."""
    return as_executor(executor).completed()


class Meter:
    """Tells the driver how much a task has read, through a small file that it rewrites.

    Args:
        path: The file; None tells nobody.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._total = 0
        self._told = time.monotonic()

    def add(self, amount: int) -> None:
        """Counts `amount` more."""
        self._total += amount
        if time.monotonic() - self._told > _REPORT_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Writes the count immediately."""
        self._told = time.monotonic()
        if self._path is not None:
            try:
                self._path.write_text(str(self._total))
            except OSError:  # progress is not worth a failed task
                self._path = None


def metered(folder: Path) -> int:
    """Sum of what the meters in a folder say now."""
    total = 0
    for path in folder.glob("*.meter"):
        try:
            total += int(path.read_text())
        except (OSError, ValueError):  # just written, or just removed
            continue
    return total


@contextmanager
def reported(
    say: Progress, line: Callable[[float], str | None], *, every_seconds: float = 3.0
) -> Iterator[None]:
    """Says `line(seconds since the start)` again and again while the `with` block runs.

    Args:
        say: Shows a line to people.
        line: Makes it; None and what was said last are not said.
        every_seconds: Time between two lines.
    """
    stopped, start = threading.Event(), time.monotonic()

    def report() -> None:
        said = None
        while not stopped.wait(every_seconds):
            text = line(time.monotonic() - start)
            if text is not None and text != said:
                say(text)
                said = text

    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
