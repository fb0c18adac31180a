"""Where tasks run: in this process, in worker processes of its own, or on Spark.

All three take the same tasks and give the same outcomes in the order of the items, so a job's parts,
bytes, digests and rejects do not depend on the choice. `Automatic` starts nothing before the first
task, and then chooses: Spark if a master was named, worker processes for small inputs, else a local
Spark session. `run_tasks` (`dmix.etl.spark.tasks`) takes any of them, or a Spark session.

To add a kind, write a class of the `Executor` form. An item that ends the process of its worker is an
outcome, too (`WORKER_DIED`): `run_tasks` says what becomes of it.
"""

import functools
import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pyarrow as pa

from dmix.etl.spark.in_child import in_child
from dmix.etl.spark.masters import DEFAULT_MASTER, IN_PROCESS_BYTES, worker_errors
from dmix.etl.spark.outcomes import WORKER_DIED, Executor, Outcome, Task, outcome, spare_imports
from dmix.warehouse_schema.errors import ClusterError
from dmix.warehouse_schema.files.storage import FORWARDED_VARIABLES
from dmix.warehouse_schema.progress import counted

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from dmix.etl.spark.pool import WorkerPool

logger = logging.getLogger(__name__)

T = TypeVar("T")

ExecutorLike: TypeAlias = "Executor | SparkSession | None"
"""What jobs take: an executor, a Spark session, or None for this process."""


class ThisProcess:
    """Runs tasks one after the other in this process; an error ends the job at once."""

    def run(self, task: Task[T], items: Sequence[T], *, size_bytes: int = 0) -> list[Outcome]:
        return [Outcome(None, json.dumps(task(item))) for item in counted(items, "task")]

    def completed(self) -> int:
        return 0


def outcome_in_child(task: Task[T], item: T) -> Outcome:
    """As `outcome`, in a child of this process: one that ends by what it does is `WORKER_DIED`.

    Raises:
        ClusterError: If the child was ended from outside, mostly because memory ran out.
    """
    ended = in_child(functools.partial(outcome, task, item))
    if ended.error is not None:
        raise ended.error
    if ended.crashed:
        how = f"by {ended.ended_by.name}" if ended.ended_by else f"with code {ended.exit_code}"
        return Outcome(WORKER_DIED, how)
    if ended.ended_by is not None:
        raise ClusterError(
            f"the system ended a process with {ended.ended_by.name}, most likely because memory ran out; "
            "run fewer processes (--master 'local[1,3]'), then run the same command again to resume"
        )
    found: Outcome = ended.value
    return found


def workers_crashed(error: BaseException | None) -> bool:
    """True if Spark gave a job up because Python workers ended without a word."""
    while error is not None:
        if "exited unexpectedly" in str(error) or "Python worker crashed" in str(error):
            return True
        error = error.__cause__
    return False


class OnSpark:
    """Runs one Spark task for each item.

    The rows that Spark moves are numbers of items: workers read and write files themselves, so that no
    text crosses the JVM. Errors for people travel back as values, because Spark turns exceptions into
    text and would try again what cannot succeed.

    Spark gives a whole job up when one item has ended its worker some times, and does not say which. All
    items are then tried again, each in a child of its worker, so that what ends a process is an outcome.

    Args:
        session: A running session.
    """

    def __init__(self, session: "SparkSession") -> None:
        self.session = session
        self._in_children = False

    def run(self, task: Task[T], items: Sequence[T], *, size_bytes: int = 0) -> list[Outcome]:
        if not self._in_children:
            try:
                return self._run(task, items, of=outcome)
            except ClusterError as error:
                if not workers_crashed(error):
                    raise
            logger.warning(
                "a task ended its worker several times; dmix now runs each task in its own process"
            )
            self._in_children = True
        return self._run(task, items, of=outcome_in_child)

    def _run(
        self, task: Task[T], items: Sequence[T], *, of: Callable[[Task[T], T], Outcome]
    ) -> list[Outcome]:
        # all items travel with every task; only the task's own one is unpickled
        packed = [pickle.dumps(item) for item in items]
        # a worker may have been started before the driver was told where the store is
        environment = {name: os.environ[name] for name in FORWARDED_VARIABLES if name in os.environ}

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            os.environ.update(environment)
            for batch in batches:
                for item in batch.column(0).to_pylist():
                    found = of(task, pickle.loads(packed[item]))
                    yield pa.RecordBatch.from_pydict(
                        {
                            "item": [item],
                            "error": pa.array([found.error], pa.string()),
                            "value": [found.value],
                        }
                    )
            spare_imports()

        frame = self.session.range(0, len(items), 1, len(items)).mapInArrow(
            run, "item long, error string, value string"
        )
        with worker_errors():
            rows = sorted(frame.collect(), key=lambda row: row.item)
        return [Outcome(row.error, row.value) for row in rows]

    def completed(self) -> int:
        """Tasks that the running Spark job has finished; 0 over Spark Connect, which gives no count."""
        context = getattr(self.session, "sparkContext", None)
        if context is None:
            return 0
        tracker = context.statusTracker()
        stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
        return sum(stage.numCompletedTasks for stage in stages if stage is not None)


class Automatic:
    """Starts what the first tasks need, when they come.

    Args:
        master: Spark master that the user named; None lets the size of the inputs decide.
        app: Name that Spark shows.
        in_process_bytes: Without a master, inputs up to this size are worked on without Spark.
    """

    def __init__(
        self, *, master: str | None = None, app: str = "dmix", in_process_bytes: int = IN_PROCESS_BYTES
    ) -> None:
        self.master = master or None
        self._app, self._in_process_bytes = app, in_process_bytes
        self._spark: OnSpark | None = None
        self._used: Executor = ThisProcess()

    def run(self, task: Task[T], items: Sequence[T], *, size_bytes: int = 0) -> list[Outcome]:
        self._used = self.chosen(size_bytes)
        return self._used.run(task, items, size_bytes=size_bytes)

    def completed(self) -> int:
        return self._used.completed()

    def prepare(self, *modules: str, load: Callable[[], object] = lambda: None) -> None:
        """Starts workers if no master was named, ready for the first task; see `WorkerPool.start`."""
        if self.master is None:
            from dmix.etl.spark.pool import worker_pool

            worker_pool().start(*modules, load=load)

    def chosen(self, size_bytes: int) -> "OnSpark | WorkerPool":
        """What works on inputs of this size. A session that is there is used for all."""
        if self.master is None and self._spark is None and size_bytes <= self._in_process_bytes:
            from dmix.etl.spark.pool import worker_pool

            return worker_pool()
        return self.on_spark()

    def on_spark(self) -> OnSpark:
        """The Spark session, started if it is not there."""
        from dmix.etl.spark.session import spark_session

        if self._spark is None:
            self._spark = OnSpark(spark_session(master=self.master or DEFAULT_MASTER, app=self._app))
        return self._spark


def as_executor(given: ExecutorLike) -> Executor:
    """The executor that is meant: itself, that of a Spark session, or this process for None."""
    if given is None:
        return ThisProcess()
    if hasattr(given, "completed"):
        return given
    return OnSpark(given)


def session_of(given: ExecutorLike, *, size_bytes: int) -> "SparkSession | None":
    """The Spark session that works on inputs of this size, for jobs that sort; None if none does."""
    executor = as_executor(given)
    if isinstance(executor, Automatic):
        executor = executor.chosen(size_bytes)
    return executor.session if isinstance(executor, OnSpark) else None
