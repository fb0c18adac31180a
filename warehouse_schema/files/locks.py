"""Locks between processes: one writer at a time, and the others learn who it is.

The lock itself is `flock` (package filelock): the kernel frees it when its holder dies, so a
lock is never left behind. Who holds it stands in a side file, for messages alone.
"""

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, LockHeldError
from dmix.warehouse_schema.files.layout import publish_bytes, storage_errors
from dmix.warehouse_schema.files.processes import this_process

DEFAULT_TIMEOUT_SECONDS = 10.0


@contextmanager
def held_lock(path: Path, *, what: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> Iterator[None]:
    """Holds the lock file at `path` for the body of the `with` statement.

    Not re-entrant: a process that asks for a lock that it holds waits for itself.

    Args:
        path: The lock file; it stays on disk, empty, after the lock is given back.
        what: What is locked, for the message: "the catalog of warehouse /data/w".
        timeout_seconds: How long to wait for another holder; 0 tries once.

    Raises:
        LockHeldError: If another process still holds it after that time; the message names it.
        StorageError: If the folder cannot be written.
        InputError: If the lock file is a link or a folder.
    """
    # its import takes asyncio along, for which those who only read have no use
    from filelock import FileLock, Timeout

    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_dir():
            raise InputError(f"the lock file {path} is a link or a folder, expected a file; remove it")
        lock = FileLock(path)
        try:
            lock.acquire(timeout=timeout_seconds)
        except Timeout:
            raise LockHeldError(
                f"{what} is locked by {_holder(path)}; dmix waited {timeout_seconds:g} s. Wait until "
                "this process has finished, then run the same command again"
            ) from None
    side_file = _side_file(path)
    try:
        holder = {
            **this_process(),
            "command": shlex.join(sys.argv),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        publish_bytes(side_file, json.dumps(holder).encode())
        yield
    finally:
        side_file.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Whether another process holds the lock file at `path`; nothing is written."""
    if not path.is_file() or path.is_symlink():
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        with storage_errors(str(path)):
            lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _side_file(path: Path) -> Path:
    return path.with_name(path.name + ".holder")


_LONGEST_COMMAND = 120


def _holder(path: Path) -> str:
    """Who holds the lock, as far as the side file tells; it may just have been given back."""
    try:
        holder = json.loads(_side_file(path).read_bytes())
        program, *arguments = shlex.split(holder["command"])
        command = shlex.join([Path(program).name, *arguments])
        shown = command if len(command) <= _LONGEST_COMMAND else f"{command[:_LONGEST_COMMAND]} …"
        return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({shown})"
    except (OSError, ValueError, KeyError):
        return "another process"
