"""Worker processes of this process: the tasks of a Spark job without a JVM.

Workers are started by `python -c`, not by multiprocessing, which would import the user's script again in
each. The first ones are forks where this process may fork, as that of a command at its beginning: what both
need is imported and loaded once, which takes longer than small inputs. They are kept until this
process ends, so that a second job finds classifier and tokenizer loaded. Each works on one item at a time,
so when one dies, the item is known: it is tried again alone, when no other works (memory may have run out),
and if that ends its worker, too, it is an outcome of its own (`WORKER_DIED`).
"""

import atexit
import contextlib
import gc
import importlib
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import IO, Any, Protocol, TypeVar

from dmix.etl.spark.messages import receive, send
from dmix.etl.spark.outcomes import WORKER_DIED, Outcome, Task
from dmix.warehouse_schema.errors import ClusterError
from dmix.warehouse_schema.files.processes import cores, may_fork, starting_workers
from dmix.warehouse_schema.files.storage import FORWARDED_VARIABLES

T = TypeVar("T")

ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
"""Variables that give a worker one thread for linear algebra and tokenizers, since it has one core."""

WORTH_A_START_BYTES = 8 << 20
"""Input that one worker is through with before another one has started."""

MOST_FORKS = 4
"""Workers that are forked before the size of the inputs is known; a fork takes some milliseconds."""

TRIES = 3
"""How often a task may raise what is no message for people, as under Spark's `local[*,3]`."""

_START = "from dmix.etl.spark.worker import main; main()"
"""What a worker runs; by -c rather than -m, whose module would be loaded a second time under its own name."""


class WorkerPool:
    """Worker processes that run tasks; started when they are needed, ended with this process.

    Args:
        workers: Most processes; None for one a core.
    """

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or cores()
        self._idle: list[_Worker] = []
        self._completed = 0

    def run(self, task: Task[T], items: Sequence[T], *, size_bytes: int = 0) -> list[Outcome]:
        """Outcomes of `task` for all items, in their order; see `Executor.run`."""
        job = _Job(packed(task), [packed(item) for item in items])
        most = self._most(size_bytes)
        self._completed = 0
        busy: dict[_Worker, int] = {}
        with selectors.DefaultSelector() as selector:
            try:
                while job.finished < len(items):
                    while len(busy) < most and (number := job.next(alone=not busy)) is not None:
                        worker = self._idle.pop() if self._idle else _Worker()
                        selector.register(worker.answers, selectors.EVENT_READ, worker)
                        busy[worker] = number
                        worker.give(job.task, job.items[number])
                    for key, _ in selector.select():
                        worker = key.data
                        selector.unregister(worker.answers)
                        self._take(job, busy.pop(worker), worker)
                        self._completed = job.finished
            except BaseException:
                for worker in busy:
                    worker.end(patience_seconds=0)
                raise
        return [found for found in job.outcomes if found is not None]

    def completed(self) -> int:
        return self._completed

    def _most(self, size_bytes: int) -> int:
        """How many workers are worth their start; all of them where nothing is known of the tasks."""
        if not size_bytes:
            return self.workers
        return min(self.workers, max(len(self._idle), 1 + size_bytes // WORTH_A_START_BYTES))

    def start(self, *modules: str, load: Callable[[], object] = lambda: None) -> None:
        """Starts the first workers, which have imported some modules.

        Forks have what this process has imported and loaded. Where it cannot be forked safely, one worker
        starts and imports the modules while this process does other things.

        Args:
            modules: Names of modules.
            load: Called in this process before it is forked; loads what tasks need.
        """
        if self._idle:
            return
        if may_fork():
            for name in modules:
                importlib.import_module(name)
            load()
        if not may_fork():
            self._idle.append(_Worker(*modules))
            return
        gc.freeze()  # else the collector of a fork would write to all that it shares with this process
        self._idle += [_Worker(fork=True) for _ in range(min(self.workers, MOST_FORKS))]
        gc.unfreeze()

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._idle:
            worker.end(patience_seconds=0)
        self._idle.clear()

    def _take(self, job: "_Job", number: int, worker: "_Worker") -> None:
        answer = worker.answer()
        if answer is None:
            job.died(number, worker.end())
            return
        self._idle.append(worker)
        kind, value = answer
        if kind == "outcome":
            job.done(number, Outcome(*value))
        else:
            job.raised(number, value)


class _Job:
    """Items of one call: which wait, which are done, and how often each was tried."""

    def __init__(self, task: bytes, items: list[bytes]) -> None:
        self.task, self.items = task, items
        self.outcomes: list[Outcome | None] = [None] * len(items)
        self.finished = 0
        self._waiting = deque(range(len(items)))
        self._suspects: deque[int] = deque()
        self._tried_alone: set[int] = set()
        self._tries = [0] * len(items)

    def done(self, number: int, found: Outcome) -> None:
        self.outcomes[number] = found
        self.finished += 1

    def next(self, *, alone: bool) -> int | None:
        """The next item; those that ended a worker wait until nothing else runs."""
        if self._waiting:
            return self._waiting.popleft()
        return self._suspects.popleft() if alone and self._suspects else None

    def died(self, number: int, how: str) -> None:
        if number in self._tried_alone:
            self.done(number, Outcome(WORKER_DIED, how))
        else:
            self._tried_alone.add(number)
            self._suspects.append(number)

    def raised(self, number: int, error: BaseException) -> None:
        self._tries[number] += 1
        if self._tries[number] == TRIES:
            raise error
        self._waiting.append(number)


class _Process(Protocol):
    """What a worker needs of its process, which `subprocess.Popen` has."""

    pid: int
    returncode: int | None

    def wait(self, timeout: float | None = None) -> int: ...

    def kill(self) -> None: ...


class _Worker:
    """One process: imports some modules, gets a task and an item, and answers."""

    def __init__(self, *modules: str, fork: bool = False) -> None:
        try:
            with starting_workers():
                found = _forked() if fork else _started(modules)
        except OSError as error:
            raise ClusterError(
                f"dmix cannot start a worker process ({error}); close other programs, or give a Spark "
                "master with --master"
            ) from error
        self._process, self._tasks, self.answers = found
        self._task = b""

    def give(self, task: bytes, item: bytes) -> None:
        """Sends an item, with the task where it is another one than before."""
        stores = {name: os.environ.get(name) for name in FORWARDED_VARIABLES}
        with contextlib.suppress(BrokenPipeError):  # it died while it was idle; `answer` will find out
            send(self._tasks, (stores, None if task == self._task else task, item))
        self._task = task

    def answer(self) -> Any:
        """What it says of its item: ("outcome", …) or ("raised", exception); None if it has died."""
        answer = receive(self.answers)
        if answer is not None and answer[0] == "raised":
            self._task = b""  # loading the task may have failed, so the next item comes with it again
        return answer

    def end(self, *, patience_seconds: float = 0.5) -> str:
        """Ends the process; says how it ended if it had ended before."""
        try:
            self._process.wait(patience_seconds)  # its pipe closes just before it ends
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._tasks, self.answers):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        code = self._process.returncode
        assert code is not None
        return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _started(modules: Sequence[str]) -> tuple[_Process, IO[bytes], IO[bytes]]:
    """A new process, where to write its tasks, and where to read its answers."""
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1"), "TOKENIZERS_PARALLELISM": "false"}
    # the imports of this process, however it came by them, are those of its workers
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _START, *modules],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    return process, process.stdin, process.stdout


def _forked() -> tuple[_Process, IO[bytes], IO[bytes]]:
    """As `_started`, with a fork of this process."""
    tasks, give = os.pipe()
    answers, answer = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(give)
            os.close(answers)
            os.environ.update(dict.fromkeys(ONE_THREAD, "1"), TOKENIZERS_PARALLELISM="false")
            from dmix.etl.spark.worker import fork_main

            fork_main(tasks, answer)
        finally:
            os._exit(1)
    os.close(tasks)
    os.close(answer)
    return _Fork(pid), os.fdopen(give, "wb"), os.fdopen(answers, "rb")


class _Fork:
    """A fork of this process, in the form of `subprocess.Popen`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, negative for a signal.

        Raises:
            TimeoutExpired: If it still runs after `timeout` seconds.
        """
        ends = None if timeout is None else time.monotonic() + timeout
        while self.returncode is None:
            found, status = os.waitpid(self.pid, 0 if ends is None else os.WNOHANG)
            if found:
                self.returncode = os.waitstatus_to_exitcode(status)
            elif ends is not None and time.monotonic() >= ends:
                raise subprocess.TimeoutExpired("worker", timeout or 0)
            else:
                time.sleep(0.005)
        return self.returncode

    def kill(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)


def packed(value: object) -> bytes:
    """Pickled bytes; functions that a worker cannot import travel by value, as under Spark."""
    try:
        content = pickle.dumps(value)
    except (pickle.PicklingError, AttributeError, TypeError):
        content = b"__main__"
    if b"__main__" not in content:
        return content
    from pyspark import cloudpickle

    return bytes(cloudpickle.dumps(value))


_pool: WorkerPool | None = None


def worker_pool() -> WorkerPool:
    """The pool of this process, which all its jobs share; its workers end with it."""
    global _pool
    if _pool is None:
        _pool = WorkerPool()
        atexit.register(_pool.close)
    return _pool
