"""Every file below a folder that a user gave: found once, or counted and named, or refused.

Nothing is lost in silence. A folder that may not be read is refused, and so is a link whose target
is gone, since documents would be missing. Links are followed, each target once: what two names
reach is read under the one that is no link, or the first. A link to a folder that holds it would
go round for ever, and is left out. Hidden entries belong to tools and are left out; folders and those
files that would have documents by their names are named. What
engines leave beside their tables (`_temporary/` of a failed job holds copies of what was
committed) is left out and named; the folder of a table whose log says which files count is refused.
"""

import errno
import fnmatch
import functools
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath

from dmix.etl.reading.blocks import reading
from dmix.warehouse_schema.errors import InputError

ENGINE_NAMES = (
    "_SUCCESS",
    "_attempt*",
    "_change_data",
    "_committed*",
    "_common_metadata",
    "_delta_*",
    "_distcp*",
    "_impala_insert_staging",
    "_logs",
    "_metadata",
    "_spark_metadata",
    "_staging*",
    "_started*",
    "_symlink_format_manifest",
    "_temp*",
    "_tmp*",
    "__magic*",
)
"""Files and folders that Spark, Hadoop, Delta, Hive and Impala write beside data, as `fnmatch` patterns."""

TABLES = {"_delta_log": "Delta", ".hoodie": "Hudi"}
"""Folders that make the folder around them a table of that kind."""


def walk(
    top: Path, *, left_out: Counter[str], not_below: Path | None, wanted: Callable[[Path], bool]
) -> Iterator[Path]:
    """The regular files at or below `top`, each folder once, in the order of the names; links come last.

    Args:
        top: A file or folder, or a link to one.
        left_out: Counts what is not handed out, by what it is.
        not_below: A folder that is left out without a word: the warehouse.
        wanted: Says of a name whether it is one of a file with documents.

    Raises:
        InputError: If a folder may not be read, a link leads nowhere, or a folder is a table with a log.
        NotFoundError: If a folder vanished.
    """
    waiting, done = deque([top]), set[str]()
    while waiting:
        path = waiting.popleft()
        with reading(str(path)):
            mode = _mode(path, wanted)
        if mode is None:
            left_out[f"link {path.name} to nothing"] += 1
        elif not stat.S_ISDIR(mode):
            if stat.S_ISREG(mode):
                yield path
            else:
                left_out[f"{path.name} (no regular file)"] += 1
        else:
            if path.is_symlink() and path != top and _holds(path):
                left_out[f"link {path.name} to a folder that contains the link"] += 1
                continue
            found: list[Path] = []
            waiting += _files_and_links(
                path, done=done, left_out=left_out, not_below=not_below, wanted=wanted, found=found
            )
            yield from found


def _files_and_links(
    top: Path,
    *,
    done: set[str],
    left_out: Counter[str],
    not_below: Path | None,
    wanted: Callable[[Path], bool],
    found: list[Path],
) -> list[Path]:
    """Links to folders below `top`; appends the files there to `found`."""
    folders, links = [top], []
    while folders:
        folder = folders.pop()
        real = os.path.realpath(folder)
        if real in done or (not_below is not None and Path(real).is_relative_to(not_below)):
            continue
        done.add(real)
        with reading(str(folder)), os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        _refuse_table(folder, [entry.name for entry in entries])
        below = []
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                hidden = hidden_part((entry.name,), is_folder=_is_folder(entry), wanted=wanted)
                left_out.update([hidden] if hidden else [])
                continue
            if of_engine(entry.name):
                left_out[_engine_name(entry)] += 1
                continue
            with reading(str(path)):
                is_folder = entry.is_dir(follow_symlinks=False)
                mode = None if is_folder else _mode(path, wanted)
            if is_folder:
                below.append(path)
            elif mode is None:
                left_out[f"link {path.name} to nothing"] += 1
            elif stat.S_ISDIR(mode):
                links.append(path)
            elif stat.S_ISREG(mode):
                found.append(path)
            else:
                left_out[f"{path.name} (no regular file)"] += 1
        folders += reversed(below)
    return links


def of_engine(name: str) -> bool:
    """True for a file or folder that an engine leaves beside its data."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ENGINE_NAMES)


def engine_part(parts: Sequence[str]) -> str | None:
    """What to call the first of the parts of a path that an engine has made; None if none is."""
    for number, part in enumerate(parts):
        if of_engine(part):
            return f"{part}/" if number + 1 < len(parts) else part
    return None


def hidden_part(parts: Sequence[str], *, is_folder: bool, wanted: Callable[[Path], bool]) -> str | None:
    """What to call the first hidden part of a path; None if none is, or no documents are in such a file."""
    for number, part in enumerate(parts):
        if part.startswith("."):
            if number + 1 < len(parts) or is_folder:
                return f"{part}/ (hidden)"
            return f".*{Path(part).suffix} (hidden)" if wanted(Path(part)) else None
    return None


def refuse_tables(paths: Sequence[PurePath], *, where: str) -> None:
    """Refuses a listing of a remote folder that is a table with a log, or holds one.

    Args:
        paths: Files below the folder, relative to it.
        where: What messages call it.

    Raises:
        InputError: If it is one.
    """
    for path in paths:
        for number, part in enumerate(path.parts[:-1]):
            if part in TABLES:
                raise _table_error("/".join([where, *path.parts[:number]]), TABLES[part])
        if _is_iceberg(path.parts[-2:-1], path.name):
            raise _table_error("/".join([where, *path.parts[:-2]]), "Iceberg")


def _refuse_table(folder: Path, names: Sequence[str]) -> None:
    for name in names:
        if name in TABLES:
            raise _table_error(str(folder), TABLES[name])
        if _is_iceberg((folder.name,), name):
            raise _table_error(str(folder.parent), "Iceberg")


def _is_iceberg(folder: Sequence[str], name: str) -> bool:
    return tuple(folder) == ("metadata",) and name.endswith(".metadata.json")


def _table_error(where: str, kind: str) -> InputError:
    return InputError(
        f"{where} is a table of {kind}. Only its log lists the valid files, and dmix does not read this "
        "log. Export the table as plain Parquet, or give only the valid files"
    )


def _mode(path: Path, wanted: Callable[[Path], bool]) -> int | None:
    """What a path is once links are followed; None for a link that leads nowhere and may be left out.

    Raises:
        InputError: If a link leads nowhere whose name says, or may say, that documents are there.
    """
    try:
        found = path.stat()
        return stat.S_IFCHR if found.st_dev in _of_the_kernel() else found.st_mode
    except OSError as error:
        if isinstance(error, PermissionError) or not path.is_symlink():
            raise
        if path.suffix and not wanted(path):
            return None
        target = path.readlink()
        loops = error.errno == errno.ELOOP
        why = "it leads to itself, or over too many links" if loops else f"{target} does not exist"
        raise InputError(f"link {path} is broken ({why}); restore its target, or remove the link") from None


@functools.cache
def _of_the_kernel() -> frozenset[int]:
    """Devices of files that the kernel makes up while they are read, some without an end (`/proc/kmsg`)."""
    return frozenset(path.stat().st_dev for path in map(Path, ("/proc", "/sys")) if path.is_dir())


def _holds(link: Path) -> bool:
    """True if a link leads to a folder that it lies in."""
    return Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link))


def _engine_name(entry: os.DirEntry[str]) -> str:
    return f"{entry.name}/" if _is_folder(entry) else entry.name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """True for a folder or a link to one; the link may lead nowhere, or where nobody may look."""
    try:
        return entry.is_dir()
    except OSError:
        return False
