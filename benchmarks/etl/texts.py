"""The inputs of the ETL benchmarks: real documents in the order of a seeded draw, as JSON Lines."""

import gzip
import random
from collections.abc import Iterator
from functools import cached_property
from itertools import cycle
from pathlib import Path

FILE_BYTES = 32 << 20
"""A file is closed behind the line that makes it so long."""


class Texts:
    """Real corpora (`corpora/<field>*/<origin>.jsonl.gz`) that are cut or repeated to any size.

    Args:
        data: Folder with `corpora`.
        folder: Where inputs are written.
    """

    def __init__(self, data: Path, folder: Path) -> None:
        self._data, self._folder = data, folder

    @cached_property
    def _lines(self) -> list[tuple[str, bytes]]:
        """(field, line) of every document, shuffled so that every size has all kinds of text."""
        paths = sorted(self._data.glob("corpora/*/*.jsonl.gz"))
        if not paths:
            raise SystemExit(
                f"no corpora/*/*.jsonl.gz in {self._data}; name the folder of the real corpora with --data"
                " or DMIX_TEST_DATA"
            )
        lines = []
        for path in paths:
            field = path.parent.name.partition("_")[0]
            with gzip.open(path) as file:
                lines += [(field, line) for line in file]
        random.Random(0).shuffle(lines)
        return lines

    @property
    def distinct_bytes(self) -> int:
        """Size up to which no document comes twice."""
        return sum(len(line) for _, line in self._lines)

    def of_size(self, megabytes: float) -> Path:
        """A folder with folders `source` and `target` of about so many MB of JSON Lines, made once.

        Each of them gets a document at least: 0 MB are two documents.
        """
        folder = self._folder / f"raw-{megabytes:g}"
        if not folder.exists():
            writers = {field: _Files(folder / field) for field in ("source", "target")}
            for field, writer in writers.items():
                writer.write(next(line for of, line in self._lines if of == field))
            for field, line in self._until(megabytes * 1e6):
                writers[field].write(line)
            for writer in writers.values():
                writer.close()
        return folder

    def _until(self, size_bytes: float) -> Iterator[tuple[str, bytes]]:
        for field, line in cycle(self._lines):
            if size_bytes <= 0:
                return
            size_bytes -= len(line)
            yield field, line


class _Files:
    """Lines that go into `000.jsonl`, `001.jsonl`, … of a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder, self._count = folder, 0
        self._lines: list[bytes] = []
        self._size_bytes = 0

    def write(self, line: bytes) -> None:
        self._lines.append(line)
        self._size_bytes += len(line)
        if self._size_bytes >= FILE_BYTES:
            self.close()

    def close(self) -> None:
        if not self._lines:
            return
        (self._folder / f"{self._count:03}.jsonl").write_bytes(b"".join(self._lines))
        self._lines, self._size_bytes, self._count = [], 0, self._count + 1


def files_of(folder: Path) -> list[Path]:
    """The input files of a folder, in order."""
    return sorted(folder.rglob("*.jsonl"))


def size_of(folder: Path) -> int:
    """Bytes of all of them."""
    return sum(path.stat().st_size for path in files_of(folder))
