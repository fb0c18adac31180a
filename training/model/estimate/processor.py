"""What the processor of this machine is and does fast, as the system says it: without torch."""

import platform
import subprocess
from pathlib import Path

# Flag by which Linux names instructions that multiply bf16, and what people call them.
_BF16_FLAGS = {"avx512_bf16": "AVX512-BF16", "amx_bf16": "AMX", "bf16": "ARM BF16"}
_CPUINFO = Path("/proc/cpuinfo")
_SYSCTL_SECONDS = 2


def cpu_has_bf16() -> bool:
    """Whether the processor multiplies bf16 by itself; others emulate it, slowly."""
    return bool(bf16_instructions())


def bf16_instructions() -> tuple[str, ...]:
    """Names of the instructions by which the processor multiplies bf16; empty where there are none."""
    if platform.system() == "Darwin":
        return ("ARM BF16",) if _sysctl("hw.optional.arm.FEAT_BF16") == "1" else ()
    flags = set(" ".join(_cpuinfo("flags", "Features")).split())
    return tuple(name for flag, name in _BF16_FLAGS.items() if flag in flags)


def processor_name() -> str:
    """Name of the processor; its architecture where the system gives no name."""
    if platform.system() == "Darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    return next(iter(_cpuinfo("model name")), platform.machine())


def _cpuinfo(*names: str) -> list[str]:
    """Values of the first processor that Linux lists under these names; empty on other systems."""
    try:
        lines = _CPUINFO.read_text(errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [value.strip() for name, _, value in pairs if name.strip() in names]


def _sysctl(name: str) -> str:
    try:
        found = subprocess.run(
            ["sysctl", "-n", name], capture_output=True, text=True, timeout=_SYSCTL_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()
