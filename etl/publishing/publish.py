"""From a worker's private folder to the files that a manifest may name.

Protocol: an attempt writes into a folder of its own; its files are renamed to their final
names, which depend on the shard input alone; its record is published last. A shard input with a record is
done. Attempts of the same shard input (retries, speculation, a zombie of a killed job) write the same
bytes to the same names, so whoever comes last changes nothing. Readers see none of it before
the dataset's manifest is there.

A remote store has no rename. There the attempt's folder is a local one, and its files are
uploaded to their final names: an upload appears whole or not at all, which is what the rename
is for.
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
from dmix.warehouse_schema.files.layout import publish_json, read_json, storage_errors, sync_path
from dmix.warehouse_schema.files.manifests import LabelFile, StreamFile
from dmix.warehouse_schema.files.storage import Place, RemotePath, size_of

STAGING = ".staging"
"""Folder below a dataset's that holds attempts and records until the manifest is written."""


@dataclass(frozen=True, kw_only=True)
class ShardInputRecord:
    """What became of one shard input.

    Attributes:
        fingerprint: Of the shard input.
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
def attempt_folder(dataset: Place) -> Iterator[Path]:
    """A fresh local folder for one attempt, removed at the end whatever happens."""
    local = None if isinstance(dataset, RemotePath) else dataset / STAGING / "attempts"
    attempts = local or Path(tempfile.gettempdir())
    with storage_errors(str(attempts)):
        attempts.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="dmix-", dir=attempts))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def publish_files(folder: Path, files: Sequence[StreamFile | LabelFile], *, into: Place) -> None:
    """Moves an attempt's files to their final folder on the same file system, or uploads them."""
    if not files:
        return
    if isinstance(into, RemotePath):
        for file in files:
            (into / file.name).upload(folder / file.name)
        return
    into.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.replace(folder / file.name, into / file.name)
    sync_path(into)


def records_folder(dataset: Place) -> Place:
    """Where the records of finished shard inputs wait for the manifest."""
    return dataset / STAGING / "done"


def write_record(dataset: Place, record: ShardInputRecord) -> None:
    """Publishes the record of a finished shard input, after its files."""
    value = {**asdict(record), "tail": base64.b64encode(record.tail).decode()}
    publish_json(records_folder(dataset) / f"{record.fingerprint}.json", value)


def read_record(dataset: Place, fingerprint: str, *, stream: Place) -> ShardInputRecord | None:
    """The record of a shard input, if it is done and its files are in `stream` in full size."""
    try:
        value = read_json(records_folder(dataset) / f"{fingerprint}.json")
        files = tuple(StreamFile(**file) for file in value["files"])
        record = ShardInputRecord(**{**value, "tail": base64.b64decode(value["tail"]), "files": files})
    except (NotFoundError, InputError, KeyError, TypeError):
        return None
    present = all(size_of(stream / file.name) == file.size_bytes for file in files)
    return record if present else None


def recorded(dataset: Place) -> set[str]:
    """Fingerprints of the shard inputs that have a record."""
    folder = records_folder(dataset)
    names = (
        [file.path.name for file in folder.files()]
        if isinstance(folder, RemotePath)
        else [path.name for path in folder.glob("*.json")]
    )
    return {name.removesuffix(".json") for name in names if not name.startswith(".")}
