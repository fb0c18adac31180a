"""Which process wrote something, and whether it is still there.

A process id alone says little: ids are used again, and mean nothing on another machine. So a
process is named by host, id and start time.
"""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

# Start times are derived from the boot time, which moves when the clock is corrected.
_START_TOLERANCE_SECONDS = 5.0


def this_process() -> dict[str, Any]:
    """What identifies this process: `host`, `pid` and `process_started` (seconds since 1970)."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "process_started": psutil.Process().create_time(),
    }


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
