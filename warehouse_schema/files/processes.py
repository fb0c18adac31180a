"""Which process wrote something, and whether it is still there.

A process id alone says little: ids are used again, and mean nothing on another machine. So a
process is named by host, id and start time.
"""

import os
import socket
from collections.abc import Mapping
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
