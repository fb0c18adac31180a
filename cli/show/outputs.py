"""Paths that a command will write to. Those that it cannot write to are refused before any work."""

import os
from pathlib import Path
from typing import Any

import click

from dmix.warehouse_schema.files.names import from_home


class OutputPath(click.Path):
    """A path to write to, handed on as a `Path`. Missing folders are made later, by whoever writes.

    Args:
        file_okay: Whether the path may be a file.
        dir_okay: Whether the path may be a folder.
    """

    def __init__(self, *, file_okay: bool = True, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, file_okay=file_okay, dir_okay=dir_okay)

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, parameter, context)))
        if reason := refusal(path):
            self.fail(reason, parameter, context)
        return path


def refusal(path: Path) -> str:
    """The reason why nothing can be written to a path, and what to do; empty if it can be tried.

    A disk that is full shows only when it is written to.
    """
    path = from_home(path).absolute()
    folder = next(place for place in (path, *path.parents) if os.path.lexists(place))
    if folder == path and not path.is_dir():
        folder = path.parent
    if not folder.is_dir():
        what = "a file" if folder.is_file() else "no folder"
        return f"{path} cannot be written, because {folder} is {what}; choose another path"
    if os.access(folder, os.W_OK | os.X_OK):
        return ""
    read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    why = "is on a read-only file system" if read_only else "does not permit you to write"
    return f"{path} cannot be written, because {folder} {why}; choose another path"
