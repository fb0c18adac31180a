"""How much memory this process may still take of the machine or its container."""

from pathlib import Path


def free_memory() -> int:
    """Bytes that are free, those of the container if it has fewer; GPUs are not looked at."""
    import psutil

    available = int(psutil.virtual_memory().available)
    room = container_room(Path("/sys/fs/cgroup"))
    return available if room is None else min(available, room)


def container_room(cgroup: Path) -> int | None:
    """Bytes that a container (cgroup v2) may still take; None without a limit.

    What it holds of files that were not read lately counts as free: the kernel gives it up for the
    asking.
    """
    try:
        limit = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        pairs = (line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return limit - used + int(dict(pairs)["inactive_file"])
    except (OSError, ValueError, KeyError):  # no limit, or another kind of container
        return None
