"""Removes what no manifest names: progress of killed jobs, losing attempts, dropped parts.

Every corpus and dataset is looked at under its lock, so that a running job keeps its staging
folder. Only hidden entries, parts, rejects and streams are touched; a file that someone else put
into the top folder of a corpus or dataset with a manifest stays.
"""

import functools
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from dmix.warehouse_schema.errors import InputError, LockHeldError
from dmix.warehouse_schema.layout import Warehouse, checked_name, storage_errors
from dmix.warehouse_schema.locks import held_lock
from dmix.warehouse_schema.manifests import (
    CorpusVersion,
    DatasetManifest,
    corpus_versions,
    datasets,
    read_corpus_version,
    read_dataset_manifest,
)

_LOCK_SECONDS = 0.5
"""A job that holds a lock will hold it for long; we come back another time."""


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """One file or folder that no manifest names."""

    path: Path
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class GarbageReport:
    """What was found.

    Attributes:
        found: Files and folders, removed unless it was a dry run.
        in_use: Corpora and datasets that were left alone because a job holds them.
    """

    found: tuple[Garbage, ...]
    in_use: tuple[str, ...]

    @property
    def size_bytes(self) -> int:
        return sum(garbage.size_bytes for garbage in self.found)


def collect_garbage(warehouse: Warehouse, *, dry_run: bool) -> GarbageReport:
    """Finds what no manifest names and, unless `dry_run`, removes it.

    The progress of a killed job is garbage too: running that job again after this starts at its
    beginning.

    Raises:
        InputError: If a manifest cannot be read; nothing of its corpus or dataset is removed.
        StorageError: If the folder cannot be written.
    """
    found: list[Garbage] = []
    in_use: list[str] = []

    def sweep(lock: Path, what: str, unnamed: Callable[[], list[Path]]) -> None:
        try:
            with held_lock(lock, what=what, timeout_seconds=_LOCK_SECONDS):
                found.extend(_collected(unnamed(), dry_run=dry_run))
        except LockHeldError:
            in_use.append(what)

    corpora = {*_names(warehouse.root / "labels"), *_names(warehouse.root / "rejects")}
    for corpus in sorted(corpora):
        sweep(
            warehouse.corpus_lock(corpus),
            f"corpus {corpus}",
            functools.partial(unnamed_in_corpus, warehouse, corpus),
        )
    for dataset in _names(warehouse.root / "streams"):
        sweep(
            warehouse.dataset_lock(dataset),
            f"dataset {dataset}",
            functools.partial(unnamed_in_dataset, warehouse, dataset),
        )
    return GarbageReport(found=tuple(found), in_use=tuple(in_use))


def unnamed_in_corpus(warehouse: Warehouse, corpus: str) -> list[Path]:
    """Files and folders of a corpus, over all its versions, that may be removed."""
    versions = [read_corpus_version(warehouse, corpus, k) for k in corpus_versions(warehouse, corpus)]
    labels, rejects = warehouse.labels(corpus), warehouse.rejects(corpus)
    if not versions:
        return [folder for folder in (labels, rejects) if folder.is_dir()]
    named = set(_named_by_corpus(warehouse, versions))
    unnamed = _unnamed_below(labels / "parts", named) + _unnamed_below(rejects, named)
    return unnamed + _hidden(labels)


def unnamed_in_dataset(warehouse: Warehouse, dataset: str) -> list[Path]:
    """Files and folders of a dataset that may be removed: all of it, if it has no manifest."""
    folder = warehouse.stream(dataset)
    if dataset not in datasets(warehouse):
        return [folder]
    return unnamed_streams(folder, read_dataset_manifest(warehouse, dataset))


def unnamed_streams(folder: Path, manifest: DatasetManifest) -> list[Path]:
    """What a dataset's folder holds in its fields' folders, or hidden, beside the named files."""
    named = {folder / stream.path / file.name for stream in manifest.streams for file in stream.files}
    fields = sorted({folder / stream.field for stream in manifest.streams})
    return [path for field in fields for path in _unnamed_below(field, named)] + _hidden(folder)


def remove_unnamed_streams(folder: Path, manifest: DatasetManifest) -> None:
    """Removes the staging folder of a dataset that has just been published, and strays."""
    _collected(unnamed_streams(folder, manifest), dry_run=False)


def unnamed_parts(warehouse: Warehouse, version: CorpusVersion) -> list[Path]:
    """Strays inside the parts that a version names."""
    named = set(_named_by_corpus(warehouse, [version]))
    folders = sorted({path.parent for path in named})
    return [path for folder in folders for path in _unnamed_below(folder, named)]


def _named_by_corpus(warehouse: Warehouse, versions: Iterable[CorpusVersion]) -> Iterator[Path]:
    for version in versions:
        labels, rejects = warehouse.labels(version.corpus), warehouse.rejects(version.corpus)
        for part in version.parts:
            yield from (labels / "parts" / part.fingerprint / file.name for file in part.files)
            yield from (rejects / part.fingerprint / file.name for file in part.reject_files)


def _unnamed_below(folder: Path, named: set[Path]) -> list[Path]:
    """Topmost files and folders below `folder` that hold none of `named`."""
    if not folder.is_dir():
        return []
    needed = named | {parent for path in named for parent in path.parents}
    unnamed = []
    for entry in sorted(folder.iterdir()):
        if entry not in needed:
            unnamed.append(entry)
        elif entry.is_dir():
            unnamed += _unnamed_below(entry, named)
    return unnamed


def _hidden(folder: Path) -> list[Path]:
    """Staging folders, and temporary files of a killed publication."""
    return sorted(folder.glob(".*")) if folder.is_dir() else []


def _names(folder: Path) -> list[str]:
    """Folders that can be a corpus or a dataset."""
    names = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            names.append(checked_name("folder", path.name))
        except InputError:
            continue
    return [name for name in names if (folder / name).is_dir()]


def _collected(paths: Iterable[Path], *, dry_run: bool) -> list[Garbage]:
    """The paths with their sizes; removes them unless `dry_run`."""
    garbage = [Garbage(path=path, size_bytes=_size(path)) for path in paths]
    if not dry_run:
        for entry in garbage:
            with storage_errors(str(entry.path)):
                _remove(entry.path)
    return garbage


def _remove(path: Path) -> None:
    """Removes a file or a folder; what a zombie of a killed job still writes stays for next time."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(_size(entry) for entry in path.iterdir())
        return path.lstat().st_size
    except FileNotFoundError:  # a zombie of a killed job still moves its files
        return 0
