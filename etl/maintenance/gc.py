"""Removes what no manifest names: progress of killed jobs, losing attempts, dropped parts.

gc looks at every corpus, dataset, start state and set of effects under its lock, so that a running job
keeps its staging folder. Only what has a name that dmix gives is removed, never through a link, so that
a file that someone else put into a folder stays.
"""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from dmix.etl.publishing.mirror import copy_published
from dmix.etl.publishing.unnamed import (
    Garbage,
    collected,
    hidden,
    needed_by,
    outside,
    remote_less,
    unnamed_below,
    unnamed_streams,
)
from dmix.etl.screening.screening import DIGESTS_LOCK, stale_digests, started_screenings, unnamed_in_screening
from dmix.warehouse_schema.errors import InputError, LockHeldError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name
from dmix.warehouse_schema.files.locks import held_lock, is_held
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    corpus_versions,
    dataset_in,
    datasets,
    read_corpus_version,
)
from dmix.warehouse_schema.files.names import refuse_links
from dmix.warehouse_schema.files.storage import Place, RemotePath
from dmix.warehouse_schema.text_files import read_json_object

P = TypeVar("P", Path, RemotePath)

_LOCK_SECONDS = 0.5
"""A job that holds a lock will hold it for long; we come back another time."""


@dataclass(frozen=True, kw_only=True)
class GarbageReport:
    """What was found.

    Attributes:
        found: Files and folders, removed unless it was a dry run.
        in_use: Corpora, datasets, screenings, start states and effects that a job holds; they were left
            alone.
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
        InputError: If a manifest cannot be read, or a folder holds links; nothing of its corpus or dataset is
            removed.
        StorageError: If the folder cannot be written, or a remote store cannot be reached.
    """
    copy_published(warehouse)  # what another machine has published there is no garbage
    found: list[Garbage] = []
    in_use: list[str] = []

    def sweep(lock: Path, what: str, unnamed: Callable[[], list[Place]]) -> None:
        if dry_run and is_held(lock):
            in_use.append(what)
            return
        try:
            with (
                contextlib.nullcontext()
                if dry_run
                else held_lock(lock, what=what, timeout_seconds=_LOCK_SECONDS)
            ):
                found.extend(collected(unnamed(), dry_run=dry_run))
        except LockHeldError:
            in_use.append(what)

    for kind, folders, unnamed_in in (
        ("corpus", ("labels", "rejects"), unnamed_in_corpus),
        ("dataset", ("streams",), unnamed_in_dataset),
        ("start state", ("start_states",), unnamed_in_start_state),
        ("effects", ("effects",), unnamed_in_effects),
    ):
        for name in sorted({name for folder in folders for name in _names(warehouse, folder)}):
            lock = warehouse.lock_of(kind, name)
            sweep(lock, f"{kind} {name}", functools.partial(unnamed_in, warehouse, name))
    for kind, screening in started_screenings(warehouse):
        sweep(
            warehouse.lock_of("screening", screening),
            f"screening {screening}",
            functools.partial(unnamed_in_screening, warehouse, kind, screening),
        )
    sweep(
        warehouse.lock_of("screening", DIGESTS_LOCK),
        "the digests of texts",
        functools.partial(stale_digests, warehouse),
    )
    return GarbageReport(found=tuple(found), in_use=tuple(in_use))


def unnamed_in_corpus(warehouse: Warehouse, corpus: str) -> list[Place]:
    """Files and folders of a corpus, over all its versions, that may be removed."""
    versions = [read_corpus_version(warehouse, corpus, k) for k in corpus_versions(warehouse, corpus)]
    labels, rejects = warehouse.labels(corpus), warehouse.rejects(corpus)
    refuse_links(labels)
    refuse_links(rejects)
    unnamed: list[Place] = []
    if not versions:
        unnamed += [folder for folder in (labels, rejects) if folder.is_dir()]
    else:
        named = set(_named_by_corpus(versions, labels=labels, rejects=rejects))
        unnamed += unnamed_below(labels / "parts", named)
        unnamed += [*unnamed_below(rejects, named), *hidden(labels)]
    return unnamed + _unnamed_remotely(warehouse, corpus, versions)


def _unnamed_remotely(warehouse: Warehouse, corpus: str, versions: Sequence[CorpusVersion]) -> list[Place]:
    """Remote files of a corpus that no version names."""
    data, rejects = warehouse.label_data(corpus), warehouse.reject_data(corpus)
    if not (isinstance(data, RemotePath) and isinstance(rejects, RemotePath)):
        return []
    named = {data / f"v{version.version}.json" for version in versions}
    named.update(_named_by_corpus(versions, labels=data, rejects=rejects))
    return remote_less(data, named) + remote_less(rejects, named)


def unnamed_in_dataset(warehouse: Warehouse, dataset: str) -> list[Place]:
    """Files and folders of a dataset that may be removed: all of it, if it has no manifest."""
    folder, data = warehouse.stream(dataset), warehouse.stream_data(dataset)
    refuse_links(folder)
    if dataset not in datasets(warehouse):
        unnamed: list[Place] = [folder] if folder.is_dir() else []
        return unnamed + (remote_less(data, set()) if isinstance(data, RemotePath) else [])
    return unnamed_streams(data, dataset_in(warehouse, dataset))


def unnamed_in_start_state(warehouse: Warehouse, name: str) -> list[Place]:
    """Files of a start state that may be removed: all of them, if there is no estimate.

    Blocks beyond those that the estimate counts stay: one with a tighter bound goes on with them.
    """
    folder = warehouse.model_start_state(name)
    refuse_links(folder)
    if (folder / "estimate.json").is_file():
        return [*hidden(folder)]
    return [folder] if folder.is_dir() else []


def unnamed_in_effects(warehouse: Warehouse, name: str) -> list[Place]:
    """Files of effects that may be removed: all of them, if they were never published.

    Runs that checked a plan, and plans that were made, stay with the effects that they belong to.
    """
    folder = warehouse.effects(name)
    refuse_links(folder)
    manifest = folder / "effects.json"
    if not manifest.is_file():
        return [folder] if folder.is_dir() else []
    named = {folder / str(file) for file in read_json_object(manifest).get("files") or ()}
    strays: list[Place] = [path for path in sorted(folder.glob("*.parquet")) if path not in named]
    probes = folder / "probes"
    return [*strays, *hidden(folder), *([probes] if probes.is_dir() else [])]


def unnamed_parts(warehouse: Warehouse, version: CorpusVersion) -> list[Place]:
    """Strays inside the parts that a version names."""
    labels, rejects = warehouse.labels(version.corpus), warehouse.rejects(version.corpus)
    named = set(_named_by_corpus([version], labels=labels, rejects=rejects))
    needed = needed_by(named)
    strays: list[Place] = [
        path for folder in sorted({path.parent for path in named}) for path in outside(folder, needed)
    ]
    remote = {part.fingerprint for part in version.parts}
    return strays + [
        place
        for place in _unnamed_remotely(warehouse, version.corpus, [version])
        if isinstance(place, RemotePath) and place.parent.name in remote
    ]


def _named_by_corpus(versions: Iterable[CorpusVersion], *, labels: P, rejects: P) -> Iterator[P]:
    """Label and reject files of some versions of a corpus, below its folders here or in a remote store."""
    for version in versions:
        for part in version.parts:
            yield from (labels / "parts" / part.fingerprint / file.name for file in part.files)
            yield from (rejects / part.fingerprint / file.name for file in part.reject_files)


def _names(warehouse: Warehouse, kind: str) -> list[str]:
    """Folders of `labels`, `rejects`, `streams`, `start_states` or `effects` with names that we give; links
    are none of them."""
    folder, data = warehouse.root / kind, warehouse.data
    inside = folder.iterdir() if folder.is_dir() else ()
    found = {path.name for path in inside if path.is_dir() and not path.is_symlink()}
    if isinstance(data, RemotePath):
        found |= {file.path.relative_to(data / kind).split("/")[0] for file in (data / kind).files()}
    names = []
    for name in sorted(found):
        try:
            names.append(checked_name("folder", name))
        except InputError:
            continue
    return names
