"""Processor time and peak memory of a tree of processes, from Linux' /proc."""

import re
from dataclasses import dataclass
from pathlib import Path

import psutil


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


def peak_megabytes() -> dict[str, float]:
    """Largest resident memory so far of this process, of Spark's JVM and of the largest worker alive."""
    root = psutil.Process()
    found = {"driver": 0.0, "jvm": 0.0, "workers": 0.0}
    for process in (root, *root.children(recursive=True)):
        kind = _kind(process, root)
        found[kind] = max(found[kind], peak_of(process.pid))
    return {name: round(value) for name, value in found.items()}


def peak_of(pid: int) -> float:
    """Largest resident memory of a process so far, in MB; 0 for one without memory of its own."""
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def _kind(process: psutil.Process, root: psutil.Process) -> str:
    if process == root:
        return "driver"
    return "jvm" if process.name() == "java" else "workers"
