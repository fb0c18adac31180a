"""Are the bytes and counts of a warehouse what its manifests say?

Everything is read again: label and reject files, and what models wrote for start states, against
hashes and row counts, shards against hashes, MDS headers against indexes, indexes and counts
against the dataset's manifest, and the catalog against all manifests.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.maintenance.gc import unnamed_parts
from dmix.etl.publishing.label_splits import label_path
from dmix.etl.publishing.publish import STAGING
from dmix.etl.publishing.unnamed import unnamed_streams
from dmix.etl.shard.mds import ShardFormat, header_problem
from dmix.etl.shard.plan import manifest_id
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.run_facts import fold_events
from dmix.warehouse_schema.errors import DmixError, InputError, StorageError
from dmix.warehouse_schema.files.changes import accepted_changes
from dmix.warehouse_schema.files.events import read_events
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.locks import is_held
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    DatasetManifest,
    StreamEntry,
    altered,
    content_digest,
    corpora,
    corpus_versions,
    datasets,
    read_corpus_version,
    read_dataset_manifest,
)
from dmix.warehouse_schema.files.names import links_below, plain_name, top_links
from dmix.warehouse_schema.files.sizes import size_text
from dmix.warehouse_schema.files.storage import Place, open_place, parquet_input, read_errors
from dmix.warehouse_schema.progress import Progress
from dmix.warehouse_schema.taxonomy import FIELDS, slug

_CHUNK_BYTES = 4 << 20
_INDEX = "index.json"


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Something that does not agree.

    Attributes:
        kind: `missing`, `size`, `hash`, `header`, `index`, `count`, `orphan`, `manifest`, `link` or
            `catalog`.
        path: File or folder, relative to the warehouse, or its URL.
        detail: What was found and what was expected.
    """

    kind: str
    path: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class VerificationReport:
    """What was read, and every problem that was met."""

    files: int
    size_bytes: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that a manifest names; `entry` is what its index entry must be if it is a shard."""

    path: Place
    size_bytes: int
    sha256: str
    rows: int | None = None
    entry: dict[str, Any] | None = None


def verify_warehouse(
    warehouse: Warehouse, *, dataset: str | None, progress: Progress, threads: int = 2
) -> VerificationReport:
    """Checks every corpus, dataset, start state and set of effects, or one dataset and its corpora.

    Args:
        dataset: Id or name; `None` checks all.
        threads: Files that are hashed at once.

    Raises:
        NotFoundError: If there is no such dataset.
    """
    problems: list[Problem] = []
    manifests = _manifests(warehouse, dataset, problems)
    versions = _versions(warehouse, None if dataset is None else manifests, problems)
    files: list[_File] = []
    for version in versions:
        files += _corpus_files(warehouse, version)
        problems += [_orphan(warehouse, path) for path in unnamed_parts(warehouse, version)]
    if dataset is None:
        files += _start_state_files(warehouse, problems)
        files += _effects_files(warehouse, problems)
    for manifest in manifests:
        files += _dataset_files(warehouse, manifest)
        problems += _dataset_problems(warehouse, manifest)
    files = list({file.path: file for file in files}.values())
    size_bytes = sum(file.size_bytes for file in files)
    progress(f"reading {len(files):,} files, {size_text(size_bytes)}")
    with ThreadPoolExecutor(threads) as pool:
        for found in pool.map(lambda file: list(_file_problems(warehouse, file)), files):
            problems += found
    for manifest in manifests:
        problems += _origin_problems(warehouse, manifest)
    problems += _edited_manifests(warehouse, versions, manifests)
    if dataset is None:
        problems += _run_problems(warehouse)
        problems += _link_problems(warehouse)
        problems += _ghost_problems(warehouse)
        problems += _half_written(warehouse)
        for link, target in top_links(warehouse.root):
            progress(f"{link} is a link to {target}")
        for place, change in accepted_changes(warehouse):
            progress(f"{place}: {change.digests}, which was accepted at {change.time[:19]}")
    problems += _catalog_problems(warehouse, versions, manifests, whole=dataset is None)
    unique = tuple(dict.fromkeys(problems))
    return VerificationReport(files=len(files), size_bytes=size_bytes, problems=unique)


def _manifests(warehouse: Warehouse, dataset: str | None, problems: list[Problem]) -> list[DatasetManifest]:
    if dataset is not None:
        return [read_dataset_manifest(warehouse, dataset)]
    found = []
    for name in datasets(warehouse):
        try:
            found.append(read_dataset_manifest(warehouse, name))
        except DmixError as error:
            problems.append(_problem(warehouse, "manifest", warehouse.stream(name), error.message))
    return found


def _versions(
    warehouse: Warehouse, manifests: Sequence[DatasetManifest] | None, problems: list[Problem]
) -> list[CorpusVersion]:
    """All versions of all corpora, or those that datasets were made from."""
    if manifests is None:
        wanted = [(name, k) for name in corpora(warehouse) for k in corpus_versions(warehouse, name)]
    else:
        wanted = sorted({(c.corpus, c.version) for manifest in manifests for c in manifest.corpora})
    found = []
    for name, version in wanted:
        try:
            found.append(read_corpus_version(warehouse, name, version))
        except DmixError as error:
            path = warehouse.labels(name) / f"v{version}.json"
            problems.append(_problem(warehouse, "manifest", path, error.message))
    return found


def _corpus_files(warehouse: Warehouse, version: CorpusVersion) -> Iterator[_File]:
    for part in version.parts:
        for file in part.files:
            yield _File(
                path=label_path(warehouse, version.corpus, part.fingerprint, file.name),
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                rows=sum(run.documents for run in file.domains),
            )
        for file in part.reject_files:
            yield _File(
                path=warehouse.rejects(version.corpus) / part.fingerprint / file.name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                # the manifest counts the rejects of a part, whose file says no more about them
                rows=sum(part.rejected.values()) if len(part.reject_files) == 1 else None,
            )


def _dataset_files(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[_File]:
    folder, shard_format = warehouse.stream_data(manifest.dataset), _shard_format(manifest)
    for stream in manifest.streams:
        for file in stream.files:
            yield _File(
                path=folder / stream.path / file.name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                entry=shard_format.index_entry(file) if shard_format and file.name != _INDEX else None,
            )


def _start_state_files(warehouse: Warehouse, problems: list[Problem]) -> Iterator[_File]:
    """Blocks of text that the estimates of start states count."""
    for path in sorted((warehouse.root / "start_states").glob("*/estimate.json")):
        try:
            blocks = read_json(path)["blocks"]
        except DmixError as error:
            problems.append(_problem(warehouse, "manifest", path, error.message))
            continue
        except KeyError:
            problems.append(
                _problem(warehouse, "manifest", path, "it does not name the blocks that it counts")
            )
            continue
        for block in blocks:
            yield _File(
                path=path.parent / plain_name(block["name"], what="block", where=path),
                size_bytes=block["size_bytes"],
                sha256=block["sha256"],
                rows=block["documents"],
            )


def _effects_files(warehouse: Warehouse, problems: list[Problem]) -> Iterator[_File]:
    """What the manifests of effects name."""
    for path in sorted(warehouse.root.glob("effects/*/effects.json")):
        try:
            named = [
                _File(path=path.parent / name, size_bytes=file["size_bytes"], sha256=file["sha256"])
                for name, file in read_json(path)["files"].items()
                if "/" not in name
            ]
        except DmixError as error:
            problems.append(_problem(warehouse, "manifest", path, error.message))
        except (KeyError, TypeError, AttributeError):
            problems.append(_problem(warehouse, "manifest", path, "it does not name its files"))
        else:
            yield from named


def _shard_format(manifest: DatasetManifest) -> ShardFormat | None:
    """How the dataset's samples are stored; None if the manifest was altered and does not say."""
    try:
        return ShardFormat(
            seq_len=manifest.seq_len,
            dtype=manifest.token_dtype,
            shard_bytes=manifest.settings["shard_bytes"],
        )
    except (KeyError, TypeError, InputError):
        return None


def _file_problems(warehouse: Warehouse, file: _File) -> Iterator[Problem]:
    """What is wrong with one file; it is read once, in pieces."""
    try:
        digest, size_bytes, head = hashlib.sha256(), 0, b""
        # a header holds 4 bytes a sample and its configuration; take enough for any of our shards
        head_bytes = 0 if file.entry is None else 4 * file.entry["samples"] + (64 << 10)
        with read_errors(str(file.path)), open_place(str(file.path)) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
                size_bytes += len(chunk)
                if len(head) < head_bytes:
                    head += chunk
    except FileNotFoundError:
        yield _problem(warehouse, "missing", file.path, "the file is not there")
        return
    except OSError as error:
        yield _problem(warehouse, "missing", file.path, f"the file cannot be read: {error.strerror}")
        return
    except StorageError as error:
        yield _problem(warehouse, "missing", file.path, f"the file cannot be read: {error.message}")
        return
    if size_bytes != file.size_bytes:
        yield _problem(
            warehouse, "size", file.path, f"{size_bytes:,} bytes, the manifest says {file.size_bytes:,}"
        )
    elif digest.hexdigest() != file.sha256:
        yield _problem(
            warehouse,
            "hash",
            file.path,
            f"SHA-256 {digest.hexdigest()[:16]}…, the manifest says {file.sha256[:16]}…",
        )
    if file.entry is not None:
        wrong = header_problem(head, entry=file.entry)
        if wrong:
            yield _problem(warehouse, "header", file.path, wrong)
    if file.rows is not None:
        rows = _parquet_rows(file.path)
        if rows != file.rows:
            found = "no readable Parquet" if rows is None else f"{rows:,} rows"
            yield _problem(warehouse, "count", file.path, f"{found}, the manifest says {file.rows:,} rows")


def _parquet_rows(path: Place) -> int | None:
    try:
        return pq.read_metadata(parquet_input(str(path))).num_rows
    except (pa.ArrowException, OSError):
        return None


def _dataset_problems(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[Problem]:
    """Orphans, counts within the manifest, and indexes against it."""
    folder = warehouse.stream_data(manifest.dataset)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        yield _problem(warehouse, "missing", tokenizer, "the file is not there")
    elif hashlib.sha256(tokenizer.read_bytes()).hexdigest() != manifest.tokenizer.sha256:
        yield _problem(warehouse, "hash", tokenizer, "it is not the tokenizer that the manifest names")
    if manifest_id(manifest) != manifest.dataset:
        yield _problem(
            warehouse,
            "manifest",
            folder / "manifest.json",
            f"its entries give id {manifest_id(manifest)}, not {manifest.dataset}: it was altered",
        )
    for path in unnamed_streams(folder, manifest):
        # no reader sees staging folders, and a zombie of a killed job may make one anew
        if STAGING not in str(path.relative_to(folder)).split("/"):  # type: ignore[arg-type]
            yield _orphan(warehouse, path)
    for stream in manifest.streams:
        yield from _stream_problems(warehouse, manifest, stream)


def _stream_problems(
    warehouse: Warehouse, manifest: DatasetManifest, stream: StreamEntry
) -> Iterator[Problem]:
    path = warehouse.stream_data(manifest.dataset) / stream.path
    shards = [file for file in stream.files if file.name != _INDEX]
    samples = sum(file.samples for file in shards)
    if samples != stream.samples:
        yield _problem(
            warehouse,
            "count",
            path,
            f"its shards hold {samples:,} samples, the entry says {stream.samples:,}",
        )
    if stream.tokens != stream.samples * manifest.seq_len or stream.tail_tokens >= manifest.seq_len:
        yield _problem(
            warehouse,
            "count",
            path,
            f"{stream.tokens:,} tokens and a tail of {stream.tail_tokens:,} do not fit {stream.samples:,}"
            f" samples of {manifest.seq_len:,}",
        )
    index, shard_format = path / _INDEX, _shard_format(manifest)
    expected = shard_format.index_bytes(shards) if shards and shard_format else None
    if expected is not None and index.is_file() and index.read_bytes() != expected:
        yield _problem(warehouse, "index", index, "it does not say what the manifest says")


def _origin_problems(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[Problem]:
    """What a dataset says about the corpora that it was made from, against those corpora."""
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    documents: dict[tuple[str, str], int] = {}
    for reference in manifest.corpora:
        name = f"{reference.corpus}@v{reference.version}"
        try:
            version = read_corpus_version(warehouse, reference.corpus, reference.version)
        except DmixError as error:
            yield _problem(
                warehouse, "missing", path, f"corpus {name}, which it was made from: {error.message}"
            )
            return
        if content_digest(version) != reference.manifest_sha256:
            yield _problem(warehouse, "hash", path, f"corpus {name} is not the one that it was made from")
        for label, count in version.domain_documents().items():
            documents[version.field, label] = documents.get((version.field, label), 0) + count
    screened = {"duplicates", "contamination"} & set(manifest.settings)
    for stream in manifest.streams:
        found = documents.get((stream.field, stream.domain), 0)
        if stream.documents > found or (not screened and stream.documents != found):
            detail = f"{stream.path} was made from {stream.documents:,} documents, its corpora have {found:,}"
            yield _problem(warehouse, "count", path, detail)


def _edited_manifests(
    warehouse: Warehouse, versions: Iterable[CorpusVersion], manifests: Iterable[DatasetManifest]
) -> Iterator[Problem]:
    """Manifests that say something else than when they were written."""
    paths = [warehouse.labels(version.corpus) / f"v{version.version}.json" for version in versions]
    for path in [*paths, *(warehouse.stream(m.dataset) / "manifest.json" for m in manifests)]:
        if path.is_file() and altered(path):
            yield _problem(warehouse, "manifest", path, "it was edited after it was written")


def _run_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Runs whose chain of digests is broken, or whose steps delivered other samples than were planned."""
    for path in sorted(warehouse.root.glob("runs/*/events.jsonl")):
        try:
            facts = fold_events(path.parent.name, read_events(path))
        except (DmixError, LookupError, TypeError, ValueError, AttributeError) as error:
            yield _problem(warehouse, "manifest", path, str(error))
            continue
        previous, last = "0" * 64, 0
        for row in facts.steps:
            step, digest, delivered = row["step"], row["digest"], row["delivered_samples"]
            if digest is None:
                continue
            if step == last + 1 and _next_link(previous, digest) != row["chain"]:
                yield _problem(warehouse, "hash", path, f"the chain of digests breaks at step {step}")
            planned = row["planned_samples"]
            if planned is not None and list(delivered or []) != list(planned):
                detail = f"step {step} delivered other samples per domain than were planned"
                yield _problem(warehouse, "count", path, detail)
            previous, last = row["chain"], step


def _next_link(previous: str, digest: str) -> str | None:
    """The chain of digests behind a step; None if one of them is no digest."""
    try:
        return hashlib.sha256(bytes.fromhex(previous) + bytes.fromhex(digest)).hexdigest()
    except (TypeError, ValueError):
        return None


# What a job that was cut off leaves for its next start; a folder that holds nothing else is its progress.
_PROGRESS = {"labels": {"parts"}, "streams": {*FIELDS, "tokenizer.json"}}


def _ghost_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Folders of datasets and corpora without a manifest that hold files which no job of dmix writes."""
    for kind, manifest, lock in (
        ("streams", "manifest.json", warehouse.dataset_lock),
        ("labels", "v*.json", warehouse.corpus_lock),
    ):
        for folder in sorted(warehouse.root.glob(f"{kind}/[!.]*/")):
            name = folder.name
            foreign = any(
                path.is_file()
                for entry in folder.glob("[!.]*")
                if entry.name not in _PROGRESS[kind]
                for path in (entry, *entry.rglob("*"))
            )
            if not foreign or any(folder.glob(manifest)) or slug(name) != name or is_held(lock(name)):
                continue
            detail = "it has files that no job writes, and no manifest; restore the manifest or remove it"
            yield _problem(warehouse, "orphan", folder, detail)


def _half_written(warehouse: Warehouse) -> Iterator[Problem]:
    """Folders of runs, agents, rejects, sets and effects that lack the file which makes them exist."""
    for folder in _folders(warehouse, "runs"):
        more = [path for path in folder.iterdir() if path.name not in _STARTING]
        if more and not (folder / "events.jsonl").is_file() and not is_held(folder / ".lock"):
            yield _ghost(warehouse, folder, "events.jsonl")
    for folder in _folders(warehouse, "agents"):
        for name in ("config.json", "model.safetensors"):
            if not (folder / name).is_file():
                yield _ghost(warehouse, folder, name)
    for first, owner, name in _BELONGING:
        for folder in _folders(warehouse, first):
            if any(folder.glob("*.parquet")) and not (warehouse.root / owner / folder.name / name).is_file():
                yield _ghost(warehouse, folder, f"{owner}/{folder.name}/{name}")
    for folder in _folders(warehouse, "rejects") if isinstance(warehouse.data, Path) else ():
        if not (warehouse.root / "labels" / folder.name).is_dir():
            yield _ghost(warehouse, folder, f"labels/{folder.name}")


# What a run has before its first event.
_STARTING = {".lock", ".lock.holder", "config.yaml"}
# Folders whose files mean nothing without a file: (first level, where that file is, its name).
_BELONGING = (
    ("trajectories", "trajectories", "set.json"),
    ("feedback", "trajectories", "set.json"),
    ("effects", "effects", "effects.json"),
)


def _folders(warehouse: Warehouse, first: str) -> list[Path]:
    """Folders of one kind that are no links and have something in them, by name."""
    found = sorted(warehouse.root.glob(f"{first}/[!.]*/"))
    return [folder for folder in found if not folder.is_symlink() and any(folder.iterdir())]


def _ghost(warehouse: Warehouse, folder: Path, lacking: str) -> Problem:
    detail = f"it is without {lacking}: half of it was written or copied; restore it or remove the folder"
    return _problem(warehouse, "orphan", folder, detail)


def _link_problems(warehouse: Warehouse) -> Iterator[Problem]:
    """Links below the first level, except those of models that stay inside them; above, those of files."""
    for link, target in top_links(warehouse.root):
        if not target.is_dir():
            yield _problem(warehouse, "link", link, f"it is a link to {target}, which is no folder")
    for first in sorted(path for path in warehouse.root.iterdir() if path.is_dir()):
        for link in links_below(first):
            model = first / link.relative_to(first).parts[0]
            if first.name == "models" and link.resolve().is_relative_to(model.resolve()) and link != model:
                continue
            yield _problem(warehouse, "link", link, "it is a link; below the first level nothing may be one")


def _catalog_problems(
    warehouse: Warehouse,
    versions: Iterable[CorpusVersion],
    manifests: Iterable[DatasetManifest],
    *,
    whole: bool,
) -> list[Problem]:
    """Counts in the catalog's views that differ from the manifests'."""
    expected: dict[tuple[str, ...], tuple[int, ...]] = {}
    for version in versions:
        expected["corpora", version.corpus, str(version.version)] = (version.documents, version.rejected)
    for manifest in manifests:
        for s in manifest.streams:
            key = ("domain_tokens", manifest.dataset, s.field, s.domain)
            expected[key] = (s.documents, s.samples, s.tokens, s.tail_tokens, s.shards)
    if not expected and not (whole and warehouse.catalog.exists()):
        return []
    try:
        found = _catalog_counts(warehouse)
    except DmixError as error:
        return [_problem(warehouse, "catalog", warehouse.catalog, error.message)]
    ghosts = sorted(found.keys() - expected.keys()) if whole else []
    return [
        _problem(
            warehouse,
            "catalog",
            warehouse.catalog,
            f"view {key[0]} has {'/'.join(key[1:])}, no manifest does",
        )
        for key in ghosts
    ] + [
        _problem(
            warehouse,
            "catalog",
            warehouse.catalog,
            f"view {key[0]}, {'/'.join(key[1:])}: {found.get(key, 'no row')}, the manifest says {counts}",
        )
        for key, counts in expected.items()
        if found.get(key) != counts
    ]


def _catalog_counts(warehouse: Warehouse) -> dict[tuple[str, ...], tuple[int, ...]]:
    queries = {
        "corpora": "select corpus, version, documents, rejected from corpora",
        "domain_tokens": "select dataset, field, domain, documents, samples, tokens, tail_tokens, shards"
        " from domain_tokens",
    }
    keys = {"corpora": 2, "domain_tokens": 3}
    counts = {}
    with Catalog.open_reader(warehouse) as catalog:
        for view, query in queries.items():
            _, rows = catalog.query(query)
            for row in rows:
                counts[view, *map(str, row[: keys[view]])] = tuple(row[keys[view] :])
    return counts


def _orphan(warehouse: Warehouse, path: Place) -> Problem:
    return _problem(warehouse, "orphan", path, "no manifest names it; 'dmix etl gc' removes it")


def _problem(warehouse: Warehouse, kind: str, path: Place, detail: str) -> Problem:
    return Problem(kind=kind, path=warehouse.relative(path), detail=detail)
