"""Checkpoint files of a run: their names, and which ones are whole.

A checkpoint is a zip archive whose table of contents is written last, so a file that a kill cut
short lacks it.
"""

import re
import zipfile
from pathlib import Path

FILE_NAME = "step{epoch}-ba{batch}.pt"
_FILE_PATTERN = re.compile(r"step(\d+)-ba(\d+)\.pt")


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run; None if there is none."""
    for path in reversed(checkpoints(folder)):
        if zipfile.is_zipfile(path):
            return path
    return None


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files of a folder, oldest first, damaged ones included."""
    found = ((_FILE_PATTERN.fullmatch(path.name), path) for path in folder.glob("*.pt"))
    return [path for _, path in sorted((_position(match), path) for match, path in found if match)]


def steps_done_at(checkpoint: Path | None) -> int:
    """The steps that were finished when a checkpoint was written; 0 without one."""
    match = None if checkpoint is None else _FILE_PATTERN.fullmatch(checkpoint.name)
    return 0 if match is None else int(match[1])


def _position(match: re.Match[str]) -> tuple[int, int]:
    return int(match[2]), int(match[1])
