"""Processes: which one wrote something, whether it is still there, and how workers end with their parent.

A process id alone says little: ids are used again, and mean nothing on another machine. So a
process is named by host, id and start time.

Ctrl-C, `timeout` and schedulers send a signal to a whole group of processes. What it means is for the
parent to decide, which may need its workers to save what it has; so they start out of its reach.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil

# Start times are derived from the boot time, which moves when the clock is corrected.
_START_TOLERANCE_SECONDS = 5.0


def cores() -> int:
    """Cores that this process may use."""
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def this_process() -> dict[str, Any]:
    """What identifies this process: `host`, `pid` and `process_started` (seconds since 1970)."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }


_KNOWS_SENDER = hasattr(signal, "sigtimedwait")
_FOR_PARENTS = {signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, *([signal.SIGTERM] if _KNOWS_SENDER else [])}
_LOOK_SECONDS = 1.0


def start_tracker() -> None:
    """Starts multiprocessing's tracker of resources, which takes away what a killed process leaves.

    This one does so without a word, which would reach people, and outlives signals to its group.
    """
    from multiprocessing import resource_tracker

    before = os.environ.get("PYTHONWARNINGS")
    os.environ["PYTHONWARNINGS"] = ",".join(filter(None, (before, "ignore:resource_tracker:UserWarning")))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_PARENTS)
    try:
        resource_tracker.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.environ.pop("PYTHONWARNINGS")
        if before is not None:
            os.environ["PYTHONWARNINGS"] = before


@contextmanager
def starting_workers() -> Iterator[None]:
    """Processes that the body starts do not get the signals that ask their group to stop.

    They inherit that the signals are blocked, so no moment is left at which one would end them. What they
    start in turn inherits it, too. Each has to call `obey_parent`, or to be ended by SIGKILL. Where the body
    starts them by multiprocessing, `start_tracker` comes before: its start ends the block (Python 3.11).
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_PARENTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def obey_parent(parent: int | None = None) -> None:
    """For a process that began in `starting_workers`: ends it with its parent, or when that sends SIGTERM.

    Args:
        parent: Its id; None where multiprocessing knows it.
    """
    if parent is None:
        from multiprocessing import parent_process

        started_by = parent_process()
        assert started_by is not None and started_by.pid is not None
        parent = started_by.pid
    signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_PARENTS)
    threading.Thread(target=_obey, args=(parent,), name="obey-parent", daemon=True).start()


def _obey(parent: int) -> None:
    while os.getppid() == parent:
        if not _KNOWS_SENDER:
            time.sleep(_LOOK_SECONDS)
        elif (found := signal.sigtimedwait({signal.SIGTERM}, _LOOK_SECONDS)) and found.si_pid == parent:
            os._exit(0)
    os._exit(1)


def is_alive(process: Mapping[str, Any]) -> bool | None:
    """Whether the process that `this_process` described still runs; None if it cannot be known.

    It cannot be known from another host, nor when `process` lacks the host or the id.
    """
    if process.get("host") != socket.gethostname() or process.get("pid") is None:
        return None
    try:
        found = psutil.Process(process["pid"])
        started = process.get("process_started")
        same = started is None or abs(found.create_time() - started) <= _START_TOLERANCE_SECONDS
        return bool(same and found.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


_KNOWS_FORKS = "jemalloc_bg_thd"
"""Thread of Arrow's allocator, which gets ready for a fork and does without it afterwards."""


_forks_allowed = False


def allow_forks() -> None:
    """For the beginning of a program that is a command of dmix: nobody else has a state in its process."""
    global _forks_allowed
    _forks_allowed = True


def may_fork() -> bool:
    """True if forks are allowed and this process has one thread, those of libraries counted."""
    if not _forks_allowed:
        return False
    try:
        names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]
    except OSError:  # one has just ended
        return False
    return sum(name != _KNOWS_FORKS for name in names) == 1  # none where there is no /proc


def keep_interrupt(module: str) -> None:
    """Lets the import of a module change nothing of what Ctrl-C means; the import itself comes later.

    Composer (0.32) makes Ctrl-C a `SystemExit` from then on: a command then ends without a word, a controller
    that is under way seems to have failed, and a cell of a notebook ends its kernel's work in silence.
    """
    if module not in sys.modules:
        sys.meta_path.insert(0, _KeepsInterrupt(module))


class _KeepsInterrupt(MetaPathFinder):
    """Finds one module, whose loader puts the handler of SIGINT back."""

    def __init__(self, module: str) -> None:
        self._module = module

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                before = signal.getsignal(signal.SIGINT)
                try:
                    execute(module)
                finally:
                    if threading.current_thread() is threading.main_thread() and before is not None:
                        signal.signal(signal.SIGINT, before)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
