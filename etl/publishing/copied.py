"""Records of the text that `dmix init` and the quickstart copy: JSON Lines that say where they come from.

A copy has other files and lines than the text of the user. So each document names its origin, and a
record that could not be read is a line of its own. Labels and rejects then have the path and position of
the user's file. What a record from elsewhere says under these names counts only if the record is exactly of
the form that a copy has: it cannot give two documents one place, or hide a text behind a reject.
"""

from collections.abc import Mapping
from typing import Any

from dmix.etl.publishing.rejects import REASONS, Reject

ORIGIN, REJECT = "dmix_origin", "dmix_reject"
NOT_READ = "not-read.jsonl"
"""File beside the copied documents with the records that could not be read."""
_DOCUMENT_KEYS = {"id", "text", ORIGIN}
_MOST = 2**63


def copied_document(id: str, text: str, *, path: str, position: int) -> dict[str, Any]:
    """The record of a document."""
    return {"id": id, "text": text, ORIGIN: {"path": path, "position": position}}


def copied_reject(reject: Reject) -> dict[str, Any]:
    """The record of a reject."""
    return {REJECT: reject._asdict()}


def origin_of(record: Mapping[str, Any]) -> tuple[str, int] | None:
    """Path and position that the record of a copy names as its origin; None for other records."""
    return _place(record[ORIGIN]) if record.keys() == _DOCUMENT_KEYS and record["id"] else None


def reject_of(record: Mapping[str, Any]) -> Reject | None:
    """The reject that a record of a copy is; None for other records."""
    if record.keys() != {REJECT}:
        return None
    found = record[REJECT]
    place = _place(found)
    if place is None:
        return None
    words = [found.get(name) for name in ("reason", "detail", "prefix")]
    if not all(map(_is_text, words)) or words[0] not in REASONS:
        return None  # a record of somebody who uses this name, too
    return Reject(*place, *words)


def _place(found: Any) -> tuple[str, int] | None:
    if not isinstance(found, dict):
        return None
    path, position = found.get("path"), found.get("position")
    if not path or not _is_text(path) or type(position) is not int or not 0 < position < _MOST:
        return None
    return path, position


def _is_text(value: Any) -> bool:
    """Whether a value is text that UTF-8 can express."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
