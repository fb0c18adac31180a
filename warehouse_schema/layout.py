"""Where everything lies in a warehouse, and how a file is published in one atomic step.

The tree is the contract of the README's "Where things live". Nothing outside this module
spells a path of the warehouse.
"""

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import InputError, NotFoundError, StorageError
from dmix.warehouse_schema.taxonomy import slug

# Files that make something visible, by kind, as patterns below the root of a warehouse.
PUBLISHED_FILES = {
    "corpus": "labels/*/v*.json",
    "dataset": "streams/*/manifest.json",
    "set": "trajectories/*/set.json",
    "trajectories": "trajectories/*/*.parquet",
    "feedback": "feedback/*/*.parquet",
    "agent": "agents/*/config.json",
    "run": "runs/*/events.jsonl",
}


def checked_name(kind: str, name: str) -> str:
    """`name`, if it can be a folder of the warehouse.

    Raises:
        InputError: If it is empty, has characters that paths do not like, or starts with a dot.
    """
    if not name or slug(name) != name:
        raise InputError(
            f"{kind} name {name!r} cannot be a folder; use letters, digits, '_', '-' and '.' (at most 80)"
        )
    return name


@dataclass(frozen=True)
class Warehouse:
    """Paths of one warehouse. Making one touches no disk.

    Attributes:
        root: Folder of the warehouse, absolute.
    """

    root: Path

    @classmethod
    def at(cls, root: str | Path) -> "Warehouse":
        return cls(Path(root).expanduser().absolute())

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.duckdb"

    @property
    def lock(self) -> Path:
        return self.root / "catalog.lock"

    def labels(self, corpus: str) -> Path:
        return self.root / "labels" / checked_name("corpus", corpus)

    def rejects(self, corpus: str) -> Path:
        return self.root / "rejects" / checked_name("corpus", corpus)

    def stream(self, dataset: str) -> Path:
        """Folder of a dataset: `<field>/<domain slug>/…`, `tokenizer.json`, `manifest.json`."""
        return self.root / "streams" / checked_name("dataset", dataset)

    def corpus_lock(self, corpus: str) -> Path:
        """Held while labels or rejects of a corpus are written or collected."""
        return self.root / ".locks" / f"corpus-{checked_name('corpus', corpus)}.lock"

    def dataset_lock(self, dataset: str) -> Path:
        """Held while the streams of a dataset are written or collected."""
        return self.root / ".locks" / f"dataset-{checked_name('dataset', dataset)}.lock"

    def trajectories(self, set_name: str) -> Path:
        return self.root / "trajectories" / checked_name("set", set_name)

    def feedback(self, set_name: str) -> Path:
        return self.root / "feedback" / checked_name("set", set_name)

    def model(self, name: str) -> Path:
        return self.root / "models" / checked_name("model", name)

    def agent(self, name: str) -> Path:
        return self.root / "agents" / checked_name("agent", name)

    def run(self, run_id: str) -> Path:
        return self.root / "runs" / checked_name("run", run_id)

    def require(self) -> "Warehouse":
        """Self, if the folder exists.

        Raises:
            NotFoundError: If it does not.
        """
        if not self.root.is_dir():
            raise NotFoundError(
                f"warehouse {self.root} does not exist; run 'dmix etl classify' first, or name another"
                " one with --warehouse or DMIX_WAREHOUSE"
            )
        return self


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns full disks and refused writes into a `StorageError` that names the remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space or choose another --warehouse, then run the same command again"
        elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            remedy = "check the permissions of the folder"
        else:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise StorageError(f"cannot write {what}: {error.strerror}{where}; {remedy}") from error


def publish_bytes(path: Path, content: bytes) -> None:
    """Writes a file that readers see whole or not at all: temporary name, fsync, rename.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
    """
    with storage_errors(str(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def publish_json(path: Path, value: Any) -> None:
    """`publish_bytes` of `value` as JSON with sorted keys, so that equal values are equal bytes."""
    publish_bytes(path, (json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The JSON document at `path`.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}); restore it or run the step that made it again"
        ) from None
