"""Bounds of a query that a user wrote: it ends on Ctrl-C, and within a memory limit.

DuckDB's own limit does not count what functions make (`range(2000000000)`), so the process is
bounded too, while the query runs. DuckDB looks for Ctrl-C between chunks of rows, which a single
slow function can keep it from, so a thread watches for it as well.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LEAST_BYTES = 512 << 20
_GRACE_SECONDS = 1.5
_INTERRUPTED = 130


def default_memory_bytes() -> int:
    """A quarter of the machine's memory, at least `LEAST_BYTES`."""
    return max(LEAST_BYTES, psutil.virtual_memory().total // 4)


@contextmanager
def bounded_memory(limit_bytes: int) -> Iterator[None]:
    """Lets this process take `limit_bytes` more than it has now; beyond, an allocation fails.

    Does nothing where the system has no such limit for data (only Linux counts it).
    """
    used = _data_bytes()
    if used is None:
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = used + limit_bytes
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY:
        wanted = min(wanted, soft)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@contextmanager
def ends_on_interrupt(grace_seconds: float = _GRACE_SECONDS) -> Iterator[None]:
    """Ends the process with code 130 if Ctrl-C has not ended the body within `grace_seconds`.

    Does nothing in a notebook's kernel, whose end would cost all that the user computed there.
    """
    if threading.current_thread() is not threading.main_thread() or "ipykernel" in sys.modules:
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    done = threading.Event()

    def watch() -> None:
        while number := os.read(reading, 1):
            if number[0] == signal.SIGINT and not done.wait(grace_seconds):
                os.write(2, b"interrupted\n")
                os._exit(_INTERRUPTED)

    watcher = threading.Thread(target=watch, daemon=True, name="interrupts")
    watcher.start()
    try:
        yield
    finally:
        done.set()
        signal.set_wakeup_fd(before)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _data_bytes() -> int | None:
    """Data of this process as RLIMIT_DATA counts it; None where the system does not say."""
    if sys.platform != "linux":
        return None
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) * 1024
    return None
