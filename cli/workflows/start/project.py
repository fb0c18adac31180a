"""A project that exists, and what `dmix init --update` changes of it.

`.init.json` in its folder has the flags that made it and a digest of every file as dmix wrote it. So dmix
knows which files nobody edited. It replaces those alone; a new text of an edited file goes beside it, as
`NAME.new`. Text and items never change, since runs on other items could not be compared.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from dmix.cli.workflows.start.run_script import suffix
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.files.manifest_json import record_from_json

RECORD = ".init.json"
# Folders of text and items, which stay.
KEPT = ("data", "items", "judging")
_FORMAT = 1
_NEW = ".new"
# Lines of a file's difference that are shown.
_MOST_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Project:
    """What made a project.

    Attributes:
        data: Folder of the text.
        model: Checkpoint or hub id; None for a small model from random weights.
        hours: Time limit for a run.
        steps: Steps of a run that were asked for; None if dmix chose them.
        reading: Where the text is in records.
        number: Which warehouse of the project `run.sh` uses.
        digests: SHA-256 of each file as dmix wrote it, by its path in the folder.
    """

    data: str
    model: str | None
    hours: float
    steps: int | None
    reading: TextSettings
    number: int = 1
    digests: Mapping[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Stores the record."""
        values = {**vars(self), "reading": vars(self.reading), "digests": dict(self.digests)}
        publish_json(folder / RECORD, {"format": _FORMAT, **values})


@dataclass(frozen=True, kw_only=True)
class Change:
    """What becomes of a file.

    Attributes:
        name: Its path in the folder.
        write_to: File that gets the new text; None if nothing is written.
        words: What that means, for people.
        lines: How the new text differs from the file.
    """

    name: str
    write_to: str | None
    words: str
    lines: tuple[str, ...] = ()


def is_project(folder: Path) -> bool:
    """Whether `dmix init` has written a project there."""
    return (folder / "environment.yaml").exists()


def read_project(folder: Path) -> Project | None:
    """What made a project; None for one of an earlier dmix, which left no record.

    Raises:
        InputError: If the record is damaged, or from a newer dmix.
    """
    path = folder / RECORD
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = dict(read_json(path))
        if found.pop("format") != _FORMAT:
            raise InputError(f"{path} is from a newer dmix; install that, or choose another folder")
        return record_from_json(Project, found)
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error}); remove this file. Then --update takes every file for edited"
        ) from None


def digests_of(folder: Path) -> dict[str, str]:
    """SHA-256 of all files of text and items of a project, by their paths in it."""
    paths = (path for name in KEPT for path in sorted((folder / name).rglob("*.jsonl")))
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in paths}


def digests_of_texts(texts: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of texts of files."""
    return {name: sha256(text.encode()).hexdigest() for name, text in texts.items()}


def check_same_text(folder: Path, drawn: Mapping[str, str], project: Project | None) -> None:
    """Refuses to update a project whose text gives other items now.

    Args:
        folder: The project.
        drawn: Digests of the items, and of the copies of text, as they would be written now.
        project: What made it; None if that is not known.

    Raises:
        InputError: If one file is not as it was written.
    """
    before: Mapping[str, str] = digests_of(folder) if project is None else project.digests
    # an earlier dmix, which left no record, wrote copies of text in another form
    kept = KEPT if project is not None else KEPT[1:]
    names = sorted(name for name in {*before, *drawn} if name.split("/")[0] in kept)
    changed = [name for name in names if before.get(name) != drawn.get(name)]
    if changed:
        raise InputError(
            f"the text is not the one that {folder} was made from: {changed[0]} would differ. Runs on other "
            "items or text cannot be compared with earlier ones; make a new project in another folder"
        )


def changes(folder: Path, texts: Mapping[str, str], project: Project | None) -> list[Change]:
    """What an update makes of each file.

    Args:
        folder: The project.
        texts: Texts that the files shall have.
        project: What made it; every file that differs counts as edited if None.
    """
    known = project.digests if project is not None else {}
    return [_change(folder / name, name, text, known.get(name)) for name, text in texts.items()]


def _change(path: Path, name: str, text: str, known: str | None) -> Change:
    if not path.exists():
        return Change(name=name, write_to=name, words="new")
    old, new = sha256(path.read_bytes()).hexdigest(), sha256(text.encode()).hexdigest()
    before = path.read_text(errors="replace").splitlines()
    if new == known != old:
        return Change(name=name, write_to=None, words="stays as it is, with your edits")
    if _effective(before) == _effective(text.splitlines()):
        return Change(name=name, write_to=None, words="stays as it is")
    if old == known:
        lines = _difference(before, text, name)
        return Change(name=name, write_to=name, words="changes", lines=lines)
    lines = _difference(before, text, name)
    return Change(
        name=name,
        write_to=name + _NEW,
        words=f"stays, since it may have your edits; the new text is {name}{_NEW}",
        lines=lines,
    )


def _effective(lines: Sequence[str]) -> list[str]:
    """Lines without comments, in which estimated times differ from call to call."""
    stripped = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in lines)
    return [line for line in stripped if line]


def _difference(before: list[str], text: str, name: str) -> tuple[str, ...]:
    found = list(difflib.unified_diff(before, text.splitlines(), name, name, lineterm="", n=0))
    more = [f"… {len(found) - _MOST_LINES} more lines"] if len(found) > _MOST_LINES else []
    return (*found[:_MOST_LINES], *more)


def free_number(folder: Path, first: int) -> int:
    """Number of the first warehouse from this one on that has no dataset, so that earlier runs stay.

    Args:
        folder: The project.
        first: Number of the warehouse that `run.sh` uses now.
    """
    number = first
    while any((folder / f"warehouse{suffix(number)}" / "streams").glob("*/manifest.json")):
        number += 1
    return number
