"""Checkpoint files of a run: their names, the complete ones, and the one from which a run resumes.

A checkpoint is a zip archive: its table of contents is written last, so a file that a kill cut short
lacks it, and it holds a checksum of every part, so zeros of a power cut are noticed. What a run has saved
is an event with a fingerprint of these checksums, so a file of another run, or under another name, is too.
"""

import hashlib
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import Change
from dmix.warehouse_schema.files.events import read_events_backwards

FILE_NAME = "step{epoch}-ba{batch}.pt"
_FILE_PATTERN = re.compile(r"step(\d+)-ba(\d+)\.pt")
_ASIDE = ".aside"
_BLOCK_BYTES = 1 << 22
# First bytes of an archive, and of the record that closes it, which has no comment.
_ZIP_BEGINS, _ZIP_ENDS, _ZIP_END_BYTES = b"PK\x03\x04", b"PK\x05\x06", 22
SAVED = "checkpoint_saved"
"""The event of a checkpoint that a run wrote: `step`, `file`, `fingerprint`."""


@dataclass(frozen=True)
class Restart:
    """Where an attempt of a run begins.

    Attributes:
        checkpoint: The checkpoint that it goes on from; None for the beginning.
        notes: Why it is not the newest file, a sentence each.
        changes: Content that changed since the last attempt, and was accepted.
        refused: Newer files, which are not taken.
    """

    checkpoint: Path | None = None
    notes: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    refused: tuple[Path, ...] = field(default=(), compare=False)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None if there is none."""
    return next((path for path in reversed(checkpoints(folder)) if is_whole(path)), None)


def choose_checkpoint(folder: Path, events_file: Path, *, back: bool = False) -> Restart:
    """As `found_checkpoint`, and sets newer files aside: they get another name, and go when the next
    checkpoint is written."""
    restart = found_checkpoint(folder, events_file, back=back, opens=_torch_opens)
    for path in restart.refused:
        path.replace(path.with_name(path.name + _ASIDE))
    return restart


def found_checkpoint(
    folder: Path, events_file: Path, *, back: bool = False, opens: Callable[[Path], bool] = lambda path: True
) -> Restart:
    """The newest checkpoint that is whole and that the event file reaches, or the one before it.

    Args:
        folder: `runs/<id>/checkpoints`.
        events_file: Of the run; a checkpoint of steps that it lacks is not taken.
        back: Take the one before the newest.
        opens: Whether what will read a whole file opens it.

    Raises:
        InputError: If there is none to go back to.
    """
    found = list(reversed(checkpoints(folder)))
    refused: list[Path] = []
    notes: list[str] = []
    usable: list[Path] = []
    for path in found:
        if not is_whole(path) or not opens(path):
            notes.append(f"checkpoint {path.name} is damaged")
        elif not is_own(path, events_file):
            notes.append(f"checkpoint {path.name} differs from the checkpoint that this run wrote")
        elif not _is_logged(events_file, steps_done_at(path)):
            step = steps_done_at(path)
            notes.append(f"checkpoint {path.name} has step {step}, but {events_file.name} does not")
        else:
            usable.append(path)
            if back and len(usable) == 1:
                refused.append(path)
                continue
            break
        refused.append(path)
    if back and len(usable) < 2:
        newest = usable[0].name if usable else "the start"
        raise InputError(
            f"{folder} has no complete checkpoint before {newest}; resume without --back. To keep more "
            "checkpoints, set checkpoints_kept to 2 or more in the training file"
        )
    checkpoint = usable[-1] if usable else None
    if back:
        notes.append(f"--back: skipping checkpoint {usable[0].name}")
    if notes:
        notes.append(f"resuming from {'the beginning' if checkpoint is None else checkpoint.name}")
    return Restart(checkpoint, tuple(notes), refused=tuple(refused))


def forget_set_aside(folder: Path) -> None:
    """Removes what `choose_checkpoint` set aside."""
    for path in folder.glob(f"*.pt{_ASIDE}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files of a folder, oldest first, damaged ones included."""
    found = ((_FILE_PATTERN.fullmatch(path.name), path) for path in folder.glob("*.pt"))
    return [path for _, path in sorted((_position(match), path) for match, path in found if match)]


def steps_done_at(checkpoint: Path | None) -> int:
    """The steps that were finished when a checkpoint was written; 0 without one."""
    match = None if checkpoint is None else _FILE_PATTERN.fullmatch(checkpoint.name)
    return 0 if match is None else int(match[1])


def is_whole(path: Path) -> bool:
    """Whether every part of a checkpoint has the checksum that was written with it, and nothing is around."""
    if not path.is_file():  # a folder, or a pipe that nobody fills
        return False
    try:
        with path.open("rb") as file, zipfile.ZipFile(path) as archive:
            begins = file.read(len(_ZIP_BEGINS)) == _ZIP_BEGINS
            file.seek(-_ZIP_END_BYTES, os.SEEK_END)
            if not begins or not file.read().startswith(_ZIP_ENDS):  # torch takes no bytes around it
                return False
            parts = archive.infolist()
            # torch stores parts as they are; one that is packed, or lies within another, could be a bomb
            if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
                return False
            if sum(part.file_size for part in parts) > path.stat().st_size:
                return False
            for part in parts:
                with archive.open(part) as stored:
                    while stored.read(_BLOCK_BYTES):
                        pass
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        return False
    return True


def _torch_opens(path: Path) -> bool:
    """Whether torch opens a file: it reads fields of the table of contents that `zipfile` passes over."""
    import torch  # which a dry run does without

    try:
        torch._C.PyTorchFileReader(str(path))
    except RuntimeError:
        return False
    return True


def fingerprint(path: Path) -> str:
    """SHA-256 of names, lengths and checksums of the parts of a whole checkpoint; its bytes are not read."""
    with zipfile.ZipFile(path) as archive:
        parts = [f"{part.filename}\0{part.file_size}\0{part.CRC}" for part in archive.infolist()]
    return hashlib.sha256("\n".join(parts).encode(errors="surrogateescape")).hexdigest()


def is_own(path: Path, events_file: Path) -> bool:
    """Whether the run wrote this content under this name; True for runs of versions that did not say."""
    saved = (
        event.get("fingerprint")
        for event in read_events_backwards(events_file)
        if event["event"] == SAVED and event.get("file") == path.name
    )
    wanted = next(saved, None)  # the last attempt counts
    return wanted is None or wanted == fingerprint(path)


def names_of_run(run_id: str, events_file: Path) -> set[str]:
    """Names under which a run trained: that of its folder, and earlier ones."""
    events = read_events_backwards(events_file)
    return {run_id, *(event["run_id"] for event in events if event["event"] == "run_started")}


def recorded_chain(events_file: Path, *, step: int) -> str:
    """Chained digest of the samples up to a step, as the last attempt wrote it; empty if none did."""
    done = (
        event.get("chain")
        for event in read_events_backwards(events_file)
        if event["event"] == "step_done" and event.get("step") == step
    )
    return next(done, None) or ""


def _is_logged(events_file: Path, step: int) -> bool:
    return step == 0 or any(
        event["event"] == "step_done" and event.get("step") == step
        for event in read_events_backwards(events_file)
    )


def _position(match: re.Match[str]) -> tuple[int, int]:
    return int(match[2]), int(match[1])
