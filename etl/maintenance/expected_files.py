"""The files that manifests name, each compared with what is there."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.maintenance.problems import Problem, problem_at
from dmix.etl.publishing.shard_inputs import label_path
from dmix.etl.shard.mds import ShardFormat, header_problem
from dmix.warehouse_schema.errors import DmixError, InputError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse, read_json
from dmix.warehouse_schema.files.manifests import (
    CorpusVersion,
    DatasetManifest,
    corpus_versions,
    dataset_in,
    read_corpus_version,
    read_dataset_manifest,
)
from dmix.warehouse_schema.files.names import plain_name
from dmix.warehouse_schema.files.storage import Place, open_place, parquet_input, read_errors
from dmix.warehouse_schema.sizes import num_text

_CHUNK_BYTES = 4 << 20
INDEX = "index.json"


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """A file that a manifest names; `entry` is what its index entry must be if it is a shard."""

    path: Place
    size_bytes: int
    sha256: str
    rows: int | None = None
    entry: dict[str, Any] | None = None


def readable_manifests(
    warehouse: Warehouse, dataset: str | None, problems: list[Problem]
) -> list[DatasetManifest]:
    """One dataset's manifest, or all; those that cannot be read become problems."""
    if dataset is not None:
        return [read_dataset_manifest(warehouse, dataset)]
    found = []
    for name in warehouse.names("streams", "manifest.json", links=False):
        try:
            found.append(dataset_in(warehouse, name))
        except DmixError as error:
            path = warehouse.root / "streams" / name
            problems.append(problem_at(warehouse, "manifest", path, error.message))
    return found


def checked_versions(
    warehouse: Warehouse, manifests: Sequence[DatasetManifest] | None, problems: list[Problem]
) -> list[CorpusVersion]:
    """All versions of all corpora, or those that datasets were made from."""
    if manifests is None:
        names = warehouse.names("labels", "v*.json", links=False)
        wanted = [(name, k) for name in names for k in corpus_versions(warehouse, name)]
    else:
        wanted = sorted({(c.corpus, c.version) for manifest in manifests for c in manifest.corpora})
    found = []
    for name, version in wanted:
        try:
            found.append(read_corpus_version(warehouse, name, version))
        except DmixError as error:
            path = warehouse.root / "labels" / name / f"v{version}.json"
            problems.append(problem_at(warehouse, "manifest", path, error.message))
    return found


def corpus_files(warehouse: Warehouse, version: CorpusVersion) -> Iterator[ExpectedFile]:
    """Files of labels and rejects of a corpus version."""
    for part in version.parts:
        for file in part.files:
            yield ExpectedFile(
                path=label_path(warehouse, version.corpus, part.fingerprint, file.name),
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                rows=sum(run.documents for run in file.domains),
            )
        for file in part.reject_files:
            yield ExpectedFile(
                path=warehouse.rejects(version.corpus) / part.fingerprint / file.name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                # the manifest counts the rejects of a part, whose file says no more about them
                rows=sum(part.rejected.values()) if len(part.reject_files) == 1 else None,
            )


def dataset_files(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[ExpectedFile]:
    """Tokenizer, indices and shards of a dataset."""
    folder, shard_format = warehouse.stream_data(manifest.dataset), shard_format_of(manifest)
    for stream in manifest.streams:
        for file in stream.files:
            yield ExpectedFile(
                path=folder / stream.path / file.name,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                entry=shard_format.index_entry(file) if shard_format and file.name != INDEX else None,
            )


def start_state_files(warehouse: Warehouse, problems: list[Problem]) -> Iterator[ExpectedFile]:
    """Blocks of text that the estimates of start states count."""

    def blocks(path: Path) -> list[ExpectedFile]:
        return [
            _named_file(path, block["name"], block, rows=block["documents"])
            for block in read_json(path)["blocks"]
        ]

    for path in sorted((warehouse.root / "start_states").glob("*/estimate.json")):
        yield from _readable(warehouse, path, blocks, problems)


def effects_files(warehouse: Warehouse, problems: list[Problem]) -> Iterator[ExpectedFile]:
    """What the manifests of effects name."""

    def files(path: Path) -> list[ExpectedFile]:
        return [_named_file(path, name, file) for name, file in read_json(path)["files"].items()]

    for path in sorted(warehouse.root.glob("effects/*/effects.json")):
        yield from _readable(warehouse, path, files, problems)


def _readable(
    warehouse: Warehouse,
    path: Path,
    named_by: Callable[[Path], list[ExpectedFile]],
    problems: list[Problem],
) -> list[ExpectedFile]:
    """What a manifest names; one that cannot be read becomes a problem."""
    try:
        return named_by(path)
    except DmixError as error:
        problems.append(problem_at(warehouse, "manifest", path, error.message))
    except (KeyError, TypeError, AttributeError):
        problems.append(problem_at(warehouse, "manifest", path, "the manifest does not list its files"))
    return []


def _named_file(
    manifest: Path, name: object, value: Mapping[str, Any], *, rows: object = None
) -> ExpectedFile:
    """A file beside a manifest, as that says it.

    Raises:
        InputError: If the name leads elsewhere.
        KeyError, TypeError: If size, digest or rows are missing, or are no such values.
    """
    size_bytes, sha256 = value["size_bytes"], value["sha256"]
    if type(size_bytes) is not int or not isinstance(sha256, str) or not isinstance(rows, int | None):
        raise TypeError(f"{value} is no file")
    path = manifest.parent / plain_name(name, what="file", where=manifest)
    return ExpectedFile(path=path, size_bytes=size_bytes, sha256=sha256, rows=rows)


def shard_format_of(manifest: DatasetManifest) -> ShardFormat | None:
    """How the dataset's samples are stored; None if the manifest was altered and does not say."""
    try:
        return ShardFormat(
            seq_len=manifest.seq_len,
            dtype=manifest.token_dtype,
            shard_bytes=manifest.settings["shard_bytes"],
        )
    except (KeyError, TypeError, InputError):
        return None


def file_problems(warehouse: Warehouse, file: ExpectedFile) -> Iterator[Problem]:
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
        yield problem_at(warehouse, "missing", file.path, "the file is missing")
        return
    except OSError as error:
        yield problem_at(warehouse, "missing", file.path, f"the file cannot be read: {error.strerror}")
        return
    except StorageError as error:
        yield problem_at(warehouse, "missing", file.path, f"the file cannot be read: {error.message}")
        return
    if size_bytes != file.size_bytes:
        yield problem_at(
            warehouse,
            "size",
            file.path,
            f"{num_text(size_bytes, 'byte')}, but the manifest says {file.size_bytes:,}",
        )
    elif digest.hexdigest() != file.sha256:
        yield problem_at(
            warehouse,
            "hash",
            file.path,
            f"SHA-256 {digest.hexdigest()[:16]}…, the manifest says {file.sha256[:16]}…",
        )
    if file.entry is not None:
        wrong = header_problem(head, entry=file.entry)
        if wrong:
            yield problem_at(warehouse, "header", file.path, wrong)
    if file.rows is not None:
        rows = _parquet_rows(file.path)
        if rows != file.rows:
            found = "no readable Parquet" if rows is None else num_text(rows, "row")
            yield problem_at(
                warehouse, "count", file.path, f"{found}, but the manifest says {num_text(file.rows, 'row')}"
            )


def _parquet_rows(path: Place) -> int | None:
    try:
        return pq.read_metadata(parquet_input(str(path))).num_rows
    except (pa.ArrowException, OSError):
        return None
