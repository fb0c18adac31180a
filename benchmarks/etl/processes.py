"""Processor time and peak memory of a tree of processes, from Linux' /proc."""

import contextlib
import re
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

_LOOK_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Processor time (user and system) so far, by what a process is.

    Attributes:
        driver: The Python process of the command.
        jvm: Spark's Java processes.
        workers: Spark's Python workers, and what forks them.
    """

    driver: float
    jvm: float
    workers: float

    @property
    def total(self) -> float:
        return self.driver + self.jvm + self.workers

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(
            driver=self.driver - other.driver, jvm=self.jvm - other.jvm, workers=self.workers - other.workers
        )

    def rounded(self) -> dict[str, float]:
        return {name: round(getattr(self, name), 2) for name in ("driver", "jvm", "workers")}


def seconds_of_tree() -> Seconds:
    """Processor time of this process and of all its descendants, ended ones included."""
    root = psutil.Process()
    found = {"driver": 0.0, "jvm": 0.0, "workers": 0.0}
    for process in (root, *root.children(recursive=True)):
        times = process.cpu_times()
        found[_kind(process, root)] += times.user + times.system + times.children_user + times.children_system
    return Seconds(**found)


class PeakMemory:
    """Largest resident memory of this process, of Spark's JVM and of its largest Python worker.

    Looks at all of them now and then within a `with` block, since Spark ends workers that idle.
    """

    def __init__(self) -> None:
        self._megabytes = {"driver": 0.0, "jvm": 0.0, "workers": 0.0}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def rounded(self) -> dict[str, float]:
        """MB by what a process is."""
        return {name: round(value) for name, value in self._megabytes.items()}

    def _watch(self) -> None:
        while not self._stopped.wait(_LOOK_SECONDS):
            self._look()
        self._look()

    def _look(self) -> None:
        root = psutil.Process()
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError):
                kind = _kind(process, root)
                self._megabytes[kind] = max(self._megabytes[kind], peak_of(process.pid))


def peak_of(pid: int) -> float:
    """Largest resident memory of a process so far, in MB; 0 for one that has ended."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def _kind(process: psutil.Process, root: psutil.Process) -> str:
    if process == root:
        return "driver"
    return "jvm" if process.name() == "java" else "workers"
