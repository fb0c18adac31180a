"""Locks between processes: one writer at a time, and the others learn who it is.

The lock itself is `flock`: the kernel frees it when its holder dies, so a lock is never left behind.
Who holds it stands in a side file, for messages alone. The package filelock does the same and imports
asyncio, which takes 0.05 s of each command.
"""

import fcntl
import json
import os
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from dmix.warehouse_schema.errors import InputError, LockHeldError
from dmix.warehouse_schema.files.layout import LOCKS, publish_bytes, storage_errors
from dmix.warehouse_schema.files.names import without_credentials
from dmix.warehouse_schema.files.processes import is_alive, this_process
from dmix.warehouse_schema.text_files import parse_json

DEFAULT_TIMEOUT_SECONDS = 10.0

_POLL_SECONDS = 0.05


@contextmanager
def held_lock(
    path: Path, *, what: str, timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS, of_job: bool = False
) -> Iterator[None]:
    """Holds the lock file at `path` for the body of the `with` statement.

    Not re-entrant: a process that asks for a lock that it holds waits for itself.

    Args:
        path: The lock file; it stays on disk, empty, after the lock is given back.
        what: What is locked, for the message: "the catalog of warehouse /data/w".
        timeout_seconds: How long to wait for another holder; 0 tries once.
        of_job: Whether it is held for as long as a job takes. Then a holder that runs on this machine is not
            waited for, only what a killed one left, such as its workers.

    Raises:
        LockHeldError: If another process still holds it after that time; the message names it.
        StorageError: If the folder cannot be written.
        InputError: If the lock file is a link or a folder.
    """
    with storage_errors(str(path)):
        if path.parent.name == LOCKS and path.parent.is_symlink():
            raise InputError(f"{path.parent} is a link, expected a folder; remove it")
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or path.is_dir():
            raise InputError(f"the lock file {path} is a link or a folder, expected a file; remove it")
        started = time.monotonic()
        lock = _locked(path, timeout_seconds=timeout_seconds, of_job=of_job)
    if lock is None:
        raise _held(path, what=what, waited=time.monotonic() - started)
    side_file = _side_file(path)
    try:
        holder = {
            **this_process(),
            "command": without_credentials(shlex.join(sys.argv)),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        publish_bytes(side_file, json.dumps(holder).encode())
        yield
    finally:
        side_file.unlink(missing_ok=True)
        os.close(lock)


def refuse_while_working(path: Path, *, what: str) -> None:
    """Returns if no process of this machine does the job of a lock file; nothing is written.

    For a command that reads, imports or writes before it takes the lock.

    Raises:
        LockHeldError: If one does; the message names it.
    """
    if is_held(path) and _works(path):
        raise _held(path, what=what, waited=0)


def _held(path: Path, *, what: str, waited: float) -> LockHeldError:
    after = f"; dmix waited {waited:.0f} s" if round(waited) else ""
    return LockHeldError(
        f"{what} is locked by {_holder(path)}{after}. Wait until this process has finished, then run the "
        "same command again"
    )


def is_held(path: Path) -> bool:
    """Whether another process holds the lock file at `path`; nothing is written."""
    if not path.is_file() or path.is_symlink():
        return False
    with storage_errors(str(path)):
        lock = _locked(path, timeout_seconds=0)
    if lock is None:
        return True
    os.close(lock)
    return False


def _locked(path: Path, *, timeout_seconds: float, of_job: bool = False) -> int | None:
    """Descriptor that holds the lock until it is closed; None if another one held it all that time, or does a
    job."""
    ends = time.monotonic() + timeout_seconds
    while True:
        try:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(lock).st_nlink:  # else somebody has removed the file meanwhile
                return lock
            os.close(lock)
            continue
        except BlockingIOError:
            os.close(lock)
        except OSError:
            os.close(lock)
            raise
        if time.monotonic() >= ends or (of_job and _works(path)):
            return None
        time.sleep(_POLL_SECONDS)


def _works(path: Path) -> bool:
    """Whether the holder of a lock runs on this machine, as far as the side file tells."""
    try:
        return is_alive(_read_holder(path)) is True
    except (TypeError, ValueError, OverflowError, psutil.Error):  # a side file that somebody wrote by hand
        return False


def _side_file(path: Path) -> Path:
    return path.with_name(path.name + ".holder")


_LONGEST_COMMAND = 120


def _holder(path: Path) -> str:
    """Who holds the lock, as far as the side file tells; it may just have been given back."""
    try:
        holder = _read_holder(path)
        program, *arguments = shlex.split(holder["command"])
        command = shlex.join([Path(program).name, *arguments])
        shown = command if len(command) <= _LONGEST_COMMAND else f"{command[:_LONGEST_COMMAND]} …"
        return f"process {holder['pid']} on {holder['host']} since {holder['since']} ({shown})"
    except (ValueError, KeyError, TypeError, AttributeError):
        return "another process"


def _read_holder(path: Path) -> dict[str, Any]:
    """The side file of a lock; empty where there is none, or it is damaged."""
    try:
        holder = parse_json(_side_file(path).read_bytes())
    except (OSError, ValueError):
        return {}
    return holder if isinstance(holder, dict) else {}
