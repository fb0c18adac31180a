"""What was found in inputs before, so that a call does not read again what cannot have changed.

The rule: a file is taken for unchanged if path, size, inode, time of modification and time of
change (which no tool can set back) are what they were, and the last change lay at least
`SETTLED_SECONDS` before the file was looked at; a later write then has another time, however
coarse the clock of the file system is. Of remote files, size and time of modification count. A
file that is taken for unchanged by mistake cannot spoil labels: whatever is classified is
checked against its hash or checksum while it is read.
"""

import dataclasses
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dmix.etl.reading.inspection import Inspection
from dmix.etl.reading.sources import FoundFile
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.files.manifest_json import record_from_json

SETTLED_SECONDS = 10
"""More than the coarsest clock of a file system (2 s on FAT) and a remote clock that is a bit off."""

FORMAT = 2


class InputRecords:
    """The inspections of one corpus' inputs.

    Args:
        path: Where they are kept; nothing is known if that cannot be read.
        columns: Columns that Parquet files were checked for, in words that are equal where the check is.
        piece_bytes: How small pieces may be; another value knows nothing of what came before.
        part_bytes: Below which size inputs stay whole; as `piece_bytes`.

    Make one before looking at the files, since the time at which that was done counts.
    """

    def __init__(self, path: Path, *, columns: Sequence[str], piece_bytes: int, part_bytes: int) -> None:
        self._path = path
        self._key = [FORMAT, list(columns), piece_bytes, part_bytes]
        self._known: dict[str, Mapping[str, Any]] = {}
        self._looked_ns = time.time_ns()
        try:
            stored = read_json(path)
            if stored["key"] == self._key:
                self._known = stored["inputs"]
        except (NotFoundError, InputError, KeyError, TypeError):
            pass

    def known(self, found: FoundFile) -> Inspection | None:
        """What is known about a file, if it cannot have changed since."""
        entry = self._known.get(found.path)
        if entry is None or list(found.stamp) != entry["stamp"]:
            return None
        facts = {name: value for name, value in entry.items() if name != "stamp"}
        inspection = record_from_json(Inspection, facts)
        return dataclasses.replace(inspection, source=dataclasses.replace(inspection.source, name=found.name))

    def keep(self, inspected: Iterable[tuple[FoundFile, Inspection]]) -> None:
        """Stores what is to be known next time, in place of what was.

        Raises:
            StorageError: If the folder cannot be written.
        """
        limit_ns = self._looked_ns - SETTLED_SECONDS * 10**9
        inputs = {
            found.path: {"stamp": list(found.stamp), **dataclasses.asdict(inspection)}
            for found, inspection in inspected
            if found.stamp[1:] and max(found.stamp[1:3]) < limit_ns
        }
        if inputs != self._known:
            publish_json(self._path, {"key": self._key, "inputs": inputs})
