"""Names and paths that come from a warehouse, which may be a stranger's: none leaves its folder.

Everything that manifests, indexes, events and configurations say about where a file lies goes through
`plain_name` or `inner_path` before it becomes a path. Links are followed at the top alone: the
warehouse itself and its first-level folders may be links, as people put streams on other disks.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from dmix.warehouse_schema.errors import InputError

_WORDS = "key|secret|token|signature|passw|pwd|credential|auth|jwt|bearer"
_SECRET = re.compile(rf"{_WORDS}|^(sig|sas|pass|session|policy)$", re.IGNORECASE)
# Stores and sites where a user alone is a key or a token; elsewhere it is a container or an account.
_SECRET_USERS = ("s3", "s3a", "s3n", "gs", "http", "https", "hf")

# User and password of a URL, also where a secret holds a slash or one slash of the URL is missing; a number
# behind the colon is a port. Then the user alone, and a value of the query.
_PASSWORD = re.compile(
    r"(\b[A-Za-z][A-Za-z0-9+.-]*:/{1,2}|(?<![\w:/])//)(?!arn:)[^\s/@'\"]*:(?!\d{1,5}/)[^\s@]*@"
)
_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@'\"]+@")
_VALUE = re.compile(
    rf"([?&#;](?:[^\s=&;'\"]*(?:{_WORDS})[^\s=&;'\"]*|sig|sas|pass|session|policy)=)[^\s&;'\"]+",
    re.IGNORECASE,
)

# C0 and C1 controls, marks that turn the direction of a text around, and halves of surrogate pairs, which
# no stream takes
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


_HALVES = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    """A text for a terminal: control characters, which could clear it or write over it, are spelled out.

    Names, events and errors come from files of others. Tabs and ends of lines stay.
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def spelled_halves(text: str) -> str:
    """A text in which halves of surrogate pairs, which have no UTF-8 form, are spelled out (`\\udc80`).

    They come from names of files that are no UTF-8, and from whoever makes text of bytes. The text is JSON.
    """
    return _HALVES.sub(lambda found: f"\\\\u{ord(found[0]):04x}", text)


def printable_json(text: str) -> str:
    """JSON whose strings hold control characters as escapes alone, which mean the same to who parses it."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def plain_name(value: Any, *, what: str, where: object) -> str:
    """`value`, if it is the name of one file or folder and nothing else.

    Args:
        value: What a file says.
        what: What it names, for the message: "shard".
        where: The file that says so.

    Raises:
        InputError: If it is no text, empty, hidden, or leads to another folder.
    """
    if (
        not isinstance(value, str)
        or not value
        or value.startswith(".")
        or any(mark in value for mark in ("/", "\\", "\0"))
        or len(value) > 255
    ):
        raise InputError(
            f"{where} contains the {what} {str(value)[:200]!r}, which is not inside its folder. The file "
            "is damaged, or somebody wants to reach other files; restore the file from a copy that you "
            "trust"
        )
    return value


def inner_path(value: Any, *, what: str, where: object) -> str:
    """`value`, if it is a relative path of plain names, with forward slashes.

    Raises:
        InputError: As `plain_name`, for each part.
    """
    if not isinstance(value, str) or not value:
        return plain_name(value, what=what, where=where)
    for part in value.split("/"):
        if part != plain_name(part or value, what=what, where=where):
            plain_name(value, what=what, where=where)
    return value


def from_home(path: str | Path) -> Path:
    """A path in which `~` and `~user` at the start are home folders.

    Raises:
        InputError: If this machine knows no such user, or no home folder of it.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        start = Path(path).parts[0]
        raise InputError(
            f"path {str(path)!r}: this machine knows no home folder for {start}; give the whole path, or "
            f"./{start} for a folder of that name"
        ) from None


def links_below(folder: Path) -> Iterator[Path]:
    """Links among the files and folders below a folder, which may itself be one."""
    return (Path(entry.path) for entry in _entries_below(folder) if entry.is_symlink())


def special_below(folder: Path) -> Iterator[Path]:
    """Pipes, sockets and devices below a folder; who opens a pipe waits for ever for its other end."""
    for entry in _entries_below(folder):
        if not (entry.is_symlink() or entry.is_dir() or entry.is_file()):
            yield Path(entry.path)


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from _entries_below(Path(entry.path))


def top_links(root: Path) -> list[tuple[Path, Path]]:
    """(link, its end) of a warehouse and of its first-level folders: the links that dmix follows."""
    places = [root, *(sorted(root.iterdir()) if root.is_dir() else [])]
    return [(place, Path(os.path.realpath(place))) for place in places if place.is_symlink()]


def refuse_links(folder: Path, *, inside: Path | None = None) -> None:
    """Returns if a folder is no link and holds none, and no pipe, socket or device.

    Args:
        folder: A folder below the first level of a warehouse; it may be missing.
        inside: Links that end inside this folder are fine, as a hub's cache has them.

    Raises:
        InputError: If there is one.
    """
    for path in special_below(folder):
        raise InputError(f"{path} is a pipe, a socket or a device, expected a file; remove it")
    found = [folder] if folder.is_symlink() else links_below(folder)
    for link in found:
        target = Path(os.path.realpath(link))
        if inside is not None and target.is_relative_to(os.path.realpath(inside)) and link != inside:
            continue
        raise InputError(
            f"{link} is a link to {target}. A warehouse may have links only at its first level; replace "
            "the link with the files, or link the whole folder at the first level (labels, streams, "
            "runs, …)"
        )


def without_credentials(text: str) -> str:
    """A text for people in which URLs have no user, password or key."""
    if "//" not in text and ":/" not in text:
        return text
    return _VALUE.sub(r"\1…", _USER.sub(r"\1…@", _PASSWORD.sub(r"\1…@", text)))


def refuse_credentials(url: str, *, what: str) -> None:
    """Returns if a URL has no user, password or key in it; they would be stored in the warehouse.

    Raises:
        InputError: If it has; the message does not repeat it.
    """
    scheme, _, rest = url.partition(":")
    try:
        _, address, _, *queries = urlsplit(url)
    except ValueError:  # half a bracket
        address, queries = rest.lstrip("/"), [rest.partition("?")[2]]
    user, at, _ = address.rpartition("@")
    parts = [part for query in (*queries, rest.partition(";")[2]) for part in query.split(";")]
    keys = any(_SECRET.search(name) for q in parts for name, _ in parse_qsl(q, keep_blank_values=True))
    secret = ":" in unquote(user) or _PASSWORD.match(url)
    if (at and (secret or scheme.lower() in _SECRET_USERS)) or secret or keys:
        raise InputError(
            f"{what} has credentials in its URL ({scheme}://…), and dmix would store them as plain text. "
            "Remove them from the URL, and use the variables or files of the store (AWS_ACCESS_KEY_ID, "
            "~/.aws, GOOGLE_APPLICATION_CREDENTIALS)"
        )
