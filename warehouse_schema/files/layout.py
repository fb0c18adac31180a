"""Paths of everything in a warehouse, and how a file is published in one atomic step.

The tree is the contract of the README's "Where things live". Nothing outside this module
spells a path of the warehouse.
"""

import errno
import json
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dmix.warehouse_schema.errors import InputError, NotFoundError, NotWritableError, StorageError
from dmix.warehouse_schema.files.names import from_home, refuse_links
from dmix.warehouse_schema.files.storage import Place, RemotePath
from dmix.warehouse_schema.taxonomy import slug
from dmix.warehouse_schema.text_files import parse_json

# Files that make something visible, by kind, as patterns below the root of a warehouse.
PUBLISHED_FILES = {
    "corpus": "labels/*/v*.json",
    "dataset": "streams/*/manifest.json",
    "duplicates_screening": "duplicates/*/manifest.json",
    "contamination_screening": "contamination/*/manifest.json",
    "duplicates": "duplicates/*/*.parquet",
    "contamination": "contamination/*/*.parquet",
    "set": "trajectories/*/set.json",
    "trajectories": "trajectories/*/*.parquet",
    "feedback": "feedback/*/*.parquet",
    "agent": "agents/*/config.json",
    "run": "runs/*/events.jsonl",
    "evaluation": "runs/*/evaluations/*.json",
    "model_start_state": "start_states/*/estimate.json",
    "effect_set": "effects/*/effects.json",
    "effects": "effects/*/effects.parquet",
}

LOCKS = ".locks"
"""Folder of a warehouse's lock files."""

# What torch and safetensors say, in errors of their own, when a write fails.
_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)|Os \{ code: (\d+)")
# "unexpected pos": torch (2.7) closes an archive that it could not write, which hides why.
_DISK_WORDS = ("No space left", "StorageFull", "PytorchStreamWriter", "unexpected pos ", "Disk quota")


def checked_name(kind: str, name: str) -> str:
    """`name`, if it can be a folder of the warehouse.

    Raises:
        InputError: If it is empty, has characters that paths do not like, or starts with a dot.
    """
    if not name or slug(name) != name:
        raise InputError(
            f"{kind} name {name!r} cannot be a folder; use at most 80 letters, digits, '_', '-' and '.'"
        )
    return name


_OWN_FOLDERS = ("labels", "streams", "runs", "models", "trajectories", "effects")
"""A warehouse has some of these; a project that `dmix init` makes has a warehouse beside its files."""


@dataclass(frozen=True)
class Warehouse:
    """Paths of one warehouse. Making one touches no disk; a folder that is a link below the first
    level is refused.

    Attributes:
        root: Folder of the warehouse, absolute.
    """

    root: Path

    @classmethod
    def at(cls, root: str | Path) -> "Warehouse":
        """The warehouse in a folder.

        Raises:
            InputError: If it is a URL, or a path that the catalog cannot have.
        """
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(root)):
            raise InputError(
                f"warehouse {str(root)!r} is a URL, expected a local folder; give a folder with "
                "--warehouse. To keep labels and streams at the URL, use --data-url"
            )
        if not str(root).strip():
            raise InputError("the warehouse has an empty name; give its folder with --warehouse")
        path = from_home(root).absolute()
        # DuckDB takes what follows "?" for options, and "\\" for a slash
        for character in ("?", "\\"):
            if character in str(path):
                raise InputError(
                    f"warehouse {str(path)!r} has {character!r} in its path, and DuckDB cannot use such "
                    "a path; give another folder with --warehouse"
                )
        return cls(path)

    @property
    def catalog(self) -> Path:
        return self.root / "catalog.duckdb"

    @property
    def lock(self) -> Path:
        return self.root / "catalog.lock"

    def labels(self, corpus: str) -> Path:
        return self._folder("labels", "corpus", corpus)

    def rejects(self, corpus: str) -> Path:
        return self._folder("rejects", "corpus", corpus)

    def stream(self, dataset: str) -> Path:
        """Folder of a dataset: `<field>/<domain slug>/…`, `tokenizer.json`, `manifest.json`."""
        return self._folder("streams", "dataset", dataset)

    @property
    def data_settings(self) -> Path:
        """Names the folder of labels and streams, if it is not this warehouse (`store_data_url`)."""
        return self.root / "data.json"

    @property
    def data(self) -> Place:
        """Where `labels/`, `rejects/` and `streams/` keep what is large: here, or a remote folder.

        If it is remote, the folders here hold copies of manifests, tokenizers and rejects.
        """
        try:
            found = read_json(self.data_settings)
        except NotFoundError:
            return self.root
        url = found.get("url") if isinstance(found, dict) else None
        if not isinstance(url, str):
            raise InputError(
                f"{self.data_settings} contains no URL; restore this file from a copy, or remove it"
            )
        return RemotePath.at(url)

    def label_data(self, corpus: str) -> Place:
        """As `labels`, where the label files are."""
        return self.data / "labels" / checked_name("corpus", corpus)

    def reject_data(self, corpus: str) -> Place:
        """As `rejects`, where tasks write them."""
        return self.data / "rejects" / checked_name("corpus", corpus)

    def stream_data(self, dataset: str) -> Place:
        """As `stream`, where the shards are."""
        return self.data / "streams" / checked_name("dataset", dataset)

    def stream_url(self, dataset: str) -> str | None:
        """Where the shards of a dataset are downloaded from; None if they are here."""
        place = self.stream_data(dataset)
        return place.url if isinstance(place, RemotePath) else None

    def relative(self, place: Place) -> str:
        """The name of a file of this warehouse for people: below its folder, or its URL."""
        return str(place) if isinstance(place, RemotePath) else str(place.relative_to(self.root))

    def lock_of(self, kind: str, name: str) -> Path:
        """The lock file that is held while something of this name is written or collected.

        Args:
            kind: `corpus` (labels and rejects), `dataset`, `screening`, `classifier`, `start state`, `set`
                (its first file), `farm` (feedback on a set), `effects` or `agent`.
            name: Its name.
        """
        return self.root / LOCKS / f"{kind.replace(' ', '-')}-{checked_name(kind, name)}.lock"

    def input_records(self, corpus: str) -> Path:
        """What was found in the inputs of a corpus, so that they need not be read to see what is new."""
        return self.root / ".inputs" / f"{checked_name('corpus', corpus)}.json"

    def screening(self, kind: str, screening: str) -> Path:
        """Folder of what was looked for in corpora: `kind` is `duplicates` or `contamination`."""
        return self._folder(kind, "screening", screening)

    @property
    def text_digests(self) -> Path:
        """Digests of the texts of label files, so that no file is read twice to find duplicates."""
        return self.root / "duplicates" / ".digests"

    @property
    def classifiers(self) -> Path:
        """Where distilled classifiers are, a folder each."""
        return self.root / "classifiers"

    def classifier(self, name: str) -> Path:
        return self._folder("classifiers", "classifier", name)

    def model_start_state(self, name: str) -> Path:
        """Folder of a start state estimated from a model: its text, and `estimate.json`."""
        return self._folder("start_states", "start state", name)

    def trajectories(self, set_name: str) -> Path:
        return self._folder("trajectories", "set", set_name)

    def feedback(self, set_name: str) -> Path:
        return self._folder("feedback", "set", set_name)

    def effects(self, name: str) -> Path:
        """Folder of what domains do to objectives, as one estimator found it."""
        return self._folder("effects", "effects", name)

    def model(self, name: str) -> Path:
        return self._folder("models", "model", name)

    def agent(self, name: str) -> Path:
        return self._folder("agents", "agent", name)

    def run(self, run_id: str) -> Path:
        return self._folder("runs", "run", run_id)

    def _folder(self, first: str, kind: str, name: str) -> Path:
        """A folder of the second level, which must not be a link; those of the first may be."""
        folder = self.root / first / checked_name(kind, name)
        if folder.is_symlink():
            refuse_links(folder)
        return folder

    def names(self, first: str, file: str, *, links: bool = True) -> list[str]:
        """Names of the folders below one of the first level that hold a file, sorted; those that dmix never
        gives to a folder are left out.

        Args:
            first: Name of the first-level folder.
            file: Name of the file, or a pattern of it.
            links: Include links, which whoever opens them refuses.
        """
        found = {path.parent for path in (self.root / first).glob(f"[!.]*/{file}")}
        plain = (folder for folder in found if links or not folder.is_symlink())
        return sorted(folder.name for folder in plain if slug(folder.name) == folder.name)

    def folders(self) -> list[Path]:
        """The warehouse, and its first-level folders where they are links to somewhere else."""
        links = (path for path in self.root.iterdir() if path.is_symlink() and path.is_dir())
        return [self.root, *sorted(links)]

    def require(self) -> "Warehouse":
        """Self, if the folder exists and is no project around a warehouse.

        Raises:
            NotFoundError: If it does not, or is one.
        """
        if not self.root.is_dir():
            raise NotFoundError(
                f"warehouse {self.root} does not exist; run 'dmix etl classify' first, or give another "
                "warehouse with --warehouse or DMIX_WAREHOUSE"
            )
        inner = self.root / "warehouse"
        if inner.is_dir() and not any((self.root / name).is_dir() for name in _OWN_FOLDERS):
            raise NotFoundError(
                f"{self.root} is no warehouse, but contains one; give --warehouse {shlex.quote(str(inner))}"
            )
        return self


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turns full disks and refused writes into a `StorageError` that names the remedy.

    One that asking again does not change (no permission, a read-only file system) is a `NotWritableError`.
    """
    try:
        yield
    except OSError as error:
        kind: type[StorageError] = NotWritableError
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            kind = StorageError
            remedy = "free some space or choose another folder, then run the same command again"
        elif error.errno == errno.EFBIG:
            kind = StorageError
            remedy = "raise the limit on file sizes (ulimit -f), then run the same command again"
        elif error.errno == errno.EROFS:
            remedy = "give a folder on a file system that can be written, or copy the warehouse to one"
        elif error.errno in (errno.EACCES, errno.EPERM):
            remedy = "check the permissions of the folder"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP):
            remedy = "choose another folder"
        else:
            raise
        where = f" ({error.filename})" if error.filename else ""
        raise kind(f"cannot write {what}: {error.strerror}{where}; {remedy}") from error


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """As `storage_errors`, also for the errors of their own that torch and safetensors raise."""
    try:
        with storage_errors(str(folder)):
            yield
    except StorageError:
        raise
    except Exception as error:
        number = system_error(str(error))
        # what `shutil` raises for a folder is an OSError without a number, and quotes those of its files
        if number is None or getattr(error, "errno", None) is not None:
            raise
        with storage_errors(str(folder)):
            raise OSError(number, os.strerror(number), str(folder)) from error


def system_error(said: str) -> int | None:
    """The number of the system's error that a library quotes; None if it quotes none."""
    found = _SYSTEM_ERROR.search(said)
    if found is not None:
        return int(found[1] or found[2])
    return errno.ENOSPC if any(word in said for word in _DISK_WORDS) else None


def publish_bytes(path: Place, content: bytes) -> None:
    """Writes a file that readers see whole or not at all: temporary name, fsync, rename; or one upload.

    Raises:
        StorageError: If the disk is full, the folder cannot be written, or the store refuses.
    """
    if isinstance(path, RemotePath):
        path.write_bytes(content)
        return
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


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A hidden folder inside `folder` whose files appear in `folder` at the end of the block.

    If the block fails, none of them does, and a `folder` that was not there before is gone.

    Raises:
        StorageError: If the disk is full, or the folder cannot be written.
    """
    with write_errors(folder):
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".writing.", dir=folder) as temporary:
                yield Path(temporary)
                sync_tree(Path(temporary))
                for path in sorted(Path(temporary).iterdir()):
                    os.replace(path, folder / path.name)
        except BaseException:
            with suppress(OSError):  # somebody else put a file there
                for place in made:
                    place.rmdir()
            raise


def sync_path(path: Path) -> None:
    """Waits until a file's bytes, or a folder's names, are on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Waits until all files of a folder, and their names, are on disk."""
    for path in (*folder.rglob("*"), folder):
        sync_path(path)


def publish_folder(temporary: Path, result: Path) -> None:
    """Makes a written folder visible in one step, once all of it is on disk; replaces an older one.

    Raises:
        StorageError: If the disk is full or refuses; the older one stays.
    """
    old = temporary.with_name(f"{temporary.name}.old")
    with storage_errors(str(result)):
        sync_tree(temporary)
        result.parent.mkdir(parents=True, exist_ok=True)
        replaces = result.exists()
        if replaces:
            result.rename(old)
        try:
            temporary.rename(result)
        except BaseException:
            if replaces:
                old.rename(result)
            raise
        sync_path(result.parent)
    shutil.rmtree(old, ignore_errors=True)


def store_data_url(warehouse: Warehouse, url: str | None) -> bool:
    """Makes a remote folder the place of labels and streams; True if it was not so before.

    It is stored after it was tried, so that a wrong one can be corrected.

    Args:
        url: The folder; None leaves everything as it is.

    Raises:
        InputError: If the warehouse keeps labels or streams elsewhere already.
        StorageError: If the warehouse cannot be written, or the remote folder cannot be used.
    """
    if url is None:
        return False
    wanted = RemotePath.at(url)
    if warehouse.data == wanted:
        return False
    kept = [name for name in ("labels", "streams") if any((warehouse.root / name).glob("*/*"))]
    if kept or isinstance(warehouse.data, RemotePath):
        raise InputError(
            f"the labels and streams of warehouse {warehouse.root} are in {warehouse.data}, not in "
            f"{wanted}; leave --data-url out, or give another --warehouse"
        )
    wanted.check_reachable()
    publish_json(warehouse.data_settings, {"url": wanted.url})
    return True


def publish_json(path: Place, value: Any) -> None:
    """`publish_bytes` of the `json_bytes` of a value."""
    publish_bytes(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as JSON with sorted keys, so that equal values are equal bytes."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return text.encode(errors="backslashreplace")  # names of files may be no UTF-8


def read_json(path: Place) -> Any:
    """The JSON document at `path`.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is not JSON, or a folder, a pipe or a device.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise InputError(f"{path} is a folder, a pipe or a device, expected a file; restore it from a copy")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise NotFoundError(f"{path} does not exist") from None
    return json_of(content, path)


def json_of(content: bytes, path: Place) -> Any:
    """The JSON document in the content of the file at `path`.

    Raises:
        InputError: If it is not JSON, has half a surrogate pair, or is nested so deep that it cannot be read.
    """
    try:
        return parse_json(content, paths=True)
    except ValueError as error:
        raise InputError(
            f"{path} is not valid JSON ({error}); restore this file, or run the command again that made it"
        ) from None
