"""What a process does that takes a turn; without torch, which would take seconds to import."""

import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from pathlib import Path

from dmix.etl.classifiers.gpu_lock import turn


def work(folder: Path, names: Sequence[str], seconds: float, spans: Queue) -> None:
    """Notes (name, start, end) of one turn."""
    with turn(names, folder=folder) as index:
        start = time.monotonic()
        time.sleep(seconds)
        spans.put((names[index], start, time.monotonic()))
