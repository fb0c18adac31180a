"""From a worker's private folder to the files that a manifest may name.

Protocol: an attempt writes into a folder of its own; its files are renamed to their final
names, which depend on the split alone; its record is published last. A split with a record is
done. Attempts of the same split (retries, speculation, a zombie of a killed job) write the same
bytes to the same names, so whoever comes last changes nothing. Readers see none of it before
the dataset's manifest is there.
"""

import base64
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.layout import publish_json, read_json, storage_errors
from dmix.warehouse_schema.manifests import LabelFile, StreamFile

STAGING = ".staging"
"""Folder below a dataset's that holds attempts and records until the manifest is written."""


@dataclass(frozen=True, kw_only=True)
class SplitRecord:
    """What became of one split.

    Attributes:
        fingerprint: Of the split.
        documents: Documents encoded.
        tokens: Tokens encoded, end-of-text included: those in the shards and the tail.
        tail: Bytes of the tokens of the last partial sample, in the dataset's type.
        files: Shards in order.
    """

    fingerprint: str
    documents: int
    tokens: int
    tail: bytes
    files: tuple[StreamFile, ...]


@contextmanager
def attempt_folder(dataset: Path) -> Iterator[Path]:
    """A fresh folder for one attempt, removed at the end whatever happens."""
    attempts = dataset / STAGING / "attempts"
    with storage_errors(str(attempts)):
        attempts.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=attempts))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_files(folder: Path, files: Sequence[StreamFile | LabelFile], *, into: Path) -> None:
    """Moves an attempt's files to their final folder; both lie on one file system."""
    if not files:
        return
    into.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.replace(folder / file.name, into / file.name)
    sync_folder(into)


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def records_folder(dataset: Path) -> Path:
    """Where the records of finished splits wait for the manifest."""
    return dataset / STAGING / "done"


def write_record(dataset: Path, record: SplitRecord) -> None:
    """Publishes the record of a finished split, after its files."""
    value = {**asdict(record), "tail": base64.b64encode(record.tail).decode()}
    publish_json(records_folder(dataset) / f"{record.fingerprint}.json", value)


def read_record(dataset: Path, fingerprint: str, *, stream: Path) -> SplitRecord | None:
    """The record of a split, if it is done and its files are in `stream` in full size."""
    try:
        value = read_json(records_folder(dataset) / f"{fingerprint}.json")
        files = tuple(StreamFile(**file) for file in value["files"])
        record = SplitRecord(**{**value, "tail": base64.b64decode(value["tail"]), "files": files})
    except (NotFoundError, InputError, KeyError, TypeError):
        return None
    present = all(_has_size(stream / file.name, file.size_bytes) for file in files)
    return record if present else None


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes
