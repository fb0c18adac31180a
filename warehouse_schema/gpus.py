"""GPUs that torch would find, without torch, whose import takes seconds.

Device files of the driver and `CUDA_VISIBLE_DEVICES` say how many there are, `nvidia-smi` their
memory. torch is asked where it is imported already, or where these do not tell: GPUs of AMD, Windows below
Linux, parts of a GPU (MIG), GPUs of different sizes. A driver that is too old for torch is not noticed.
"""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path("/")
"""Where the folders `dev` and `proc` of the system are."""

_OTHER_DRIVERS = ("dxg", "kfd")
_SMI = (
    "nvidia-smi",
    "--query-gpu=uuid,mig.mode.current,memory.free,memory.total",
    "--format=csv,noheader,nounits",
)
_SMI_SECONDS = 10


def gpus_in_sight() -> int | None:
    """How many GPUs this process may use; None where torch is to be asked."""
    if "torch" in sys.modules:
        return None
    return number_of_gpus(ROOT, os.environ.get("CUDA_VISIBLE_DEVICES"))


def has_gpu() -> bool:
    """Whether torch finds a GPU; its import takes a second, so it is asked only where others do not tell."""
    number = gpus_in_sight()
    if number is not None:
        return number > 0
    import torch

    return torch.cuda.is_available()


def memory_by_driver() -> tuple[int, int] | None:
    """Free and total bytes of the GPU of this process; None where torch is to be asked."""
    return None if "torch" in sys.modules else _memory_of_first(os.environ.get("CUDA_VISIBLE_DEVICES"))


def number_of_gpus(root: Path, visible: str | None) -> int | None:
    """How many GPUs a process may use; None where only torch can tell.

    Args:
        root: Where the folders `dev` and `proc` of the system are.
        visible: Value of `CUDA_VISIBLE_DEVICES`; None if it is not set.
    """
    if visible is not None and visible.split(",")[0].strip() in ("", "-1"):
        return 0
    devices = root / "dev"
    if (devices / "nvidiactl").exists():
        files = [path for path in devices.glob("nvidia*") if path.name.removeprefix("nvidia").isdecimal()]
        # device files may be made when they are first used
        number = len(files) or len(list((root / "proc/driver/nvidia/gpus").glob("*")))
        return _visible(number, visible) if number and _uses_cuda() else 0
    return None if any((devices / name).exists() for name in _OTHER_DRIVERS) else 0


def _visible(number: int, visible: str | None) -> int:
    """How many of the GPUs `CUDA_VISIBLE_DEVICES` names: those before the first number that is none."""
    if visible is None:
        return number
    count = 0
    for name in visible.split(","):
        if name.strip().startswith(("GPU-", "MIG-")) or _is_index(name.strip(), number):
            count += 1
        else:
            break
    return count


def _is_index(name: str, number: int) -> bool:
    return name.isdecimal() and int(name) < number


def _uses_cuda() -> bool:
    """Whether torch is installed, and not built for processors alone."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    try:
        version = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return True
    return re.search(r"^cuda\b[^=\n]*= *None", version, re.MULTILINE) is None


def _memory_of_first(visible: str | None) -> tuple[int, int] | None:
    """Free and total bytes of the first GPU that `CUDA_VISIBLE_DEVICES` names; None where it is not sure."""
    try:
        asked = subprocess.run(_SMI, capture_output=True, text=True, timeout=_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [[value.strip() for value in line.split(",")] for line in asked.stdout.splitlines()]
    if not rows or any(len(row) != 4 or row[1] == "Enabled" for row in rows):
        return None
    if not all(row[2].isdecimal() and row[3].isdecimal() for row in rows):
        return None
    first = "0" if visible is None else visible.split(",")[0].strip()
    if _is_index(first, len(rows)):
        # CUDA counts the fastest first, nvidia-smi by bus: only among equal ones is the number the same
        alike = len({row[3] for row in rows}) == 1
        found = [rows[int(first)]] if alike else []
    else:
        found = [row for row in rows if row[0].startswith(first)]
    return (int(found[0][2]) << 20, int(found[0][3]) << 20) if len(found) == 1 else None
