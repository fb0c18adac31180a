"""Speeds of this machine that take seconds to measure, kept from one command to the next.

A file in the user's cache folder holds them by a fingerprint of the machine, so that a home folder may be
shared by machines. What it holds is an estimate like any other: without the file, dmix measures again.
"""

import contextlib
import math
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dmix.training.model.estimate.processor import processor_name
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.layout import publish_json
from dmix.warehouse_schema.files.manifest_json import digest_of
from dmix.warehouse_schema.files.names import from_home
from dmix.warehouse_schema.files.processes import cores
from dmix.warehouse_schema.text_files import read_json_object

# Variables by which numerical libraries choose their number of threads.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_GPUS = Path("/proc/driver/nvidia/gpus")


def fingerprint() -> str:
    """What the speed of this process depends on: machine, GPUs, and the cores and threads that it may use."""
    gpus = [*sorted(path.name for path in _GPUS.glob("*")), os.environ.get("CUDA_VISIBLE_DEVICES")]
    threads = [os.environ.get(name) for name in _THREADS]
    return digest_of([platform.node(), processor_name(), cores(), gpus, threads])[:16]


def speed_file() -> Path:
    """File of the speeds, in the cache folder of the user."""
    folder = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return from_home(folder) / "dmix" / "speed.json"


def kept_speed(kind: str, measure: Callable[[], float]) -> float:
    """Operations per second of a kind of product: from the file, else measured and kept there.

    Args:
        kind: Name of the kind.
        measure: Measures it.
    """
    known = known_speed(kind)
    if known is not None:
        return known
    speed = measure()
    keep_speed(kind, speed)
    return speed


def fastest_speed(kind: str, measure: Callable[[], float]) -> float:
    """The highest speed that was ever measured: other processes only ever lower one.

    Args:
        kind: Name of the kind.
        measure: Measures it, quickly.
    """
    known, speed = known_speed(kind) or 0.0, measure()
    if speed > known:
        keep_speed(kind, speed)
    return max(known, speed)


def known_speed(kind: str) -> float | None:
    """Operations per second of a kind of work, from the file; None if it has none."""
    found = _read(speed_file()).get(fingerprint())
    speed = found.get(kind) if isinstance(found, dict) else None
    return speed if isinstance(speed, float) and math.isfinite(speed) and speed > 0 else None


def keep_speed(kind: str, speed: float) -> None:
    """Keeps operations per second of a kind of work."""
    file, machine = speed_file(), fingerprint()
    known = _read(file)
    found = known.get(machine)
    before = found if isinstance(found, dict) else {}
    with contextlib.suppress(OSError, DmixError):  # a cache that cannot be written costs time, no more
        publish_json(file, {**known, machine: {**before, kind: float(speed)}})


def _read(file: Path) -> dict[str, Any]:
    try:
        return read_json_object(file)
    except (OSError, DmixError):
        return {}
