"""The process that a `WorkerPool` starts: takes items from its standard input, answers on its output.

Ends when the process that started it does, also when that was killed: a thread waits for the end of
the input. What a task prints goes to standard error.
"""

import importlib
import os
import pickle
import queue
import sys
import threading
from typing import IO, Any

from dmix.etl.spark.messages import receive, send
from dmix.etl.spark.outcomes import outcome, spare_imports
from dmix.warehouse_schema.files.processes import obey_parent
from dmix.warehouse_schema.light_arrow import keep_pandas_out


def main() -> None:
    """Answers until there is no more to do; the arguments name modules that are imported first."""
    obey_parent(os.getppid())
    tasks = sys.stdin.buffer
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    keep_pandas_out()
    for name in sys.argv[1:]:
        importlib.import_module(name)
    serve(tasks, answers)


def fork_main(tasks: int, answers: int) -> None:
    """As `main`, in a fork of the process that gives the tasks; both pipes by their descriptors."""
    obey_parent(os.getppid())
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    keep_pandas_out()
    serve(os.fdopen(tasks, "rb"), os.fdopen(answers, "wb"))


def serve(tasks: IO[bytes], answers: IO[bytes]) -> None:
    """Does what comes from `tasks` until the end of this process."""
    given: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, given), daemon=True).start()
    task: Any = None
    while True:
        stores, new_task, item = given.get()
        for name, value in stores.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
        try:
            if new_task is not None:
                task = pickle.loads(new_task)
            answer: tuple[str, Any] = ("outcome", tuple(outcome(task, pickle.loads(item))))
        except Exception as error:
            answer = ("raised", _portable(error))
        spare_imports()
        send(answers, answer)


def _listen(tasks: IO[bytes], given: "queue.SimpleQueue[Any]") -> None:
    while (message := receive(tasks)) is not None:
        given.put(message)
    os._exit(0)


def _portable(error: Exception) -> Exception:
    """The error as the other process can have it, with where it came from."""
    import traceback

    error.add_note("".join(traceback.format_exception(error)))
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # pickle calls what the class defines, which may raise anything
        replaced = RuntimeError(f"{type(error).__name__}: {error}")
        replaced.__notes__ = error.__notes__
        return replaced
    return error
