"""Runs one Spark task for each item of a list, with errors for people and progress.

The rows that Spark moves are numbers of items: workers read and write files themselves, so that
no text crosses the JVM. An error that is meant for people (`DmixError`) travels back as a
value, because Spark turns exceptions into text and would try again what cannot succeed; any
other one is raised, and Spark tries the task again.
"""

import gc
import json
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from dmix.etl.spark.masters import spark_errors
from dmix.warehouse_schema import errors
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.storage import FORWARDED_VARIABLES

if TYPE_CHECKING:
    # work that runs in this process (`run_here`) needs neither pyspark nor Java
    from pyspark.sql import SparkSession

T = TypeVar("T")
Progress = Callable[[str], None]

_SCHEMA = "item long, error string, value string"
_REPORT_SECONDS = 0.5


def grouped(items: Sequence[T], *, size_of: Callable[[T], int], most_bytes: int, most: int) -> list[list[T]]:
    """Neighbours together, up to `most_bytes` or `most` items a group; what is larger stands alone.

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


def run_tasks(spark: "SparkSession", task: Callable[[T], Any], items: Sequence[T]) -> list[Any]:
    """`[task(item) for item in items]`, computed by Spark, one task an item.

    Args:
        spark: The session.
        task: Must be picklable (a function of a module, or a partial of one) and return a plain
            JSON value; may run more than once for an item, also at the same time.
        items: Picklable.

    Raises:
        DmixError: The first one in the order of `items` that a task raised. The other tasks ran
            to their end.
        ClusterError: If Spark gave up, for example because workers died again and again.
    """
    if not items:
        return []
    # all items travel with every task; only the task's own one is unpickled
    packed = [pickle.dumps(item) for item in items]
    # a worker may have been started before the driver was told where the store is
    environment = {name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ}

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        os.environ.update(environment)
        for batch in batches:
            for item in batch.column(0).to_pylist():
                yield _outcome(item, task, pickle.loads(packed[item]))
        _spare_imports()

    frame = spark.range(0, len(items), 1, len(items)).mapInArrow(run, _SCHEMA)
    with worker_errors():
        rows = sorted(frame.collect(), key=lambda row: row.item)
    for row in rows:
        if row.error:
            raise getattr(errors, row.error)(row.value)
    return [json.loads(row.value) for row in rows]


def worker_errors() -> AbstractContextManager[None]:
    """Says what to do when Spark gives a job up because its workers died."""
    return spark_errors(
        "Spark gave up",
        fix="if workers died, most likely memory ran out: let fewer work at a time (--master local[1,3]; on a"
        " cluster, fewer cores or more memory an executor), then run the same command again, which goes on",
    )


def _outcome(item: int, task: Callable[[T], Any], argument: T) -> pa.RecordBatch:
    try:
        error, value = None, json.dumps(task(argument))
    except DmixError as raised:
        error, value = type(raised).__name__, raised.message
    return pa.RecordBatch.from_pydict(
        {"item": [item], "error": pa.array([error], pa.string()), "value": [value]}
    )


_imported = 0
"""Modules that were loaded when this worker last looked."""


def _spare_imports() -> None:
    """Takes what imports have made out of garbage collection.

    Spark's daemon collects garbage after every task, which takes 60 ms in a worker that has
    loaded torch: longer than many tasks.
    """
    global _imported
    if len(sys.modules) > _imported:
        _imported = len(sys.modules)
        gc.collect()
        gc.freeze()


def completed_tasks(spark: "SparkSession") -> int:
    """Tasks that the running Spark job has finished; 0 over Spark Connect, which does not tell."""
    context = getattr(spark, "sparkContext", None)
    if context is None:
        return 0
    tracker = context.statusTracker()
    stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
    return sum(stage.numCompletedTasks for stage in stages if stage is not None)


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
        """Writes the count now."""
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
