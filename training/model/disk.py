"""Whether a disk has room for the checkpoints and the model of a run."""

import shutil
from pathlib import Path

from dmix.training.model.memory import RunDisk
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.sizes import size_text


def check_room(need: RunDisk, *, checkpoints: Path, result: Path, what: str) -> None:
    """Refuses a run that would fill a disk.

    Args:
        need: What the run writes.
        checkpoints: Folder of its checkpoints, which need not exist; those in it take no further room.
        result: Folder of the trained model, which need not exist.
        what: Who writes, for people.

    Raises:
        InputError: If a disk has less room; it names need, free space, folder and fix.
    """
    written = sum(path.stat().st_size for path in checkpoints.glob("*.pt*"))
    first, second = _there(checkpoints), _there(result)
    if _device(first) == _device(second):
        wanted = [(first, need.peak - written)]
    else:
        wanted = [(first, need.most_checkpoints - written), (second, need.result)]
    for folder, size_bytes in wanted:
        free = shutil.disk_usage(folder).free
        if size_bytes > free:
            raise InputError(
                f"{what} needs {size_text(size_bytes)} on disk for its checkpoints"
                f" ({size_text(need.checkpoint)} each) and its model, and {folder} has"
                f" {size_text(free)} free; make room there, set checkpoints_kept: 1 or keep: model in the"
                " training file, or put the warehouse on a larger disk"
            )


def _there(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _device(folder: Path) -> int:
    return folder.stat().st_dev
