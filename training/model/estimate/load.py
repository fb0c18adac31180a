"""How much longer work takes while other processes use the machine."""

import functools
import os
import time

from dmix.warehouse_schema.files import processes
from dmix.warehouse_schema.gpus import has_gpu

# Long enough for the scheduler to give every process a turn.
_LOOK_SECONDS = 0.2
# A process that got more of a core than this waited for nobody.
_UNDISTURBED = 0.95


def slowdown(cores: int | None = None) -> float:
    """How many times as long work takes now as on idle cores; 1 where a GPU does it.

    Args:
        cores: Cores that the work uses; as many as numerical libraries use here if None.
    """
    if has_gpu():
        return 1.0
    here = processes.cores()
    return slowdown_of(*_look(), here=here, cores=min(cores or numerical_threads(), here))


def slowdown_of(share: float, others: float, *, here: int, cores: int) -> float:
    """The same, from what a look at the machine found.

    Args:
        share: Share of one core that one busy thread gets.
        others: Cores that other processes use; counts only where the thread waited for nobody.
        here: Cores that this process may use.
        cores: Cores that the work uses.
    """
    # a thread that shares its cores fairly with n others gets here / (n + 1) of one
    rivals = here / share - 1 if share < _UNDISTURBED else min(others, here - 1)
    return max(1.0, (rivals + cores) / here)


@functools.cache  # one look for each command
def _look() -> tuple[float, float]:
    """Share of a core that a busy thread of this process gets, and cores that other processes use."""
    import psutil

    psutil.cpu_percent()
    started, used = time.perf_counter(), time.thread_time()
    while (seconds := time.perf_counter() - started) < _LOOK_SECONDS:
        pass
    share = min(1.0, (time.thread_time() - used) / seconds)
    busy = psutil.cpu_percent() / 100 * (psutil.cpu_count() or 1)
    return max(share, 0.01), max(0.0, busy - share)


def numerical_threads() -> int:
    """Threads that numerical libraries use."""
    set_here = os.environ.get("OMP_NUM_THREADS", "")
    return int(set_here) if set_here.isdigit() and int(set_here) > 0 else processes.cores()
