"""Datasets against their indices and the corpora that they come from."""

import hashlib
from collections.abc import Iterator

from dmix.etl.maintenance.expected_files import INDEX, shard_format_of
from dmix.etl.maintenance.problems import Problem, orphan_at, problem_at
from dmix.etl.publishing.publish import STAGING
from dmix.etl.publishing.unnamed import unnamed_streams
from dmix.etl.shard.plan import manifest_id
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import (
    DatasetManifest,
    StreamEntry,
    content_digest,
    read_corpus_version,
)
from dmix.warehouse_schema.sizes import num_text


def dataset_problems(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[Problem]:
    """Orphans, counts within the manifest, and indexes against it."""
    folder = warehouse.stream_data(manifest.dataset)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        yield problem_at(warehouse, "missing", tokenizer, "the file is missing")
    elif hashlib.sha256(tokenizer.read_bytes()).hexdigest() != manifest.tokenizer.sha256:
        yield problem_at(warehouse, "hash", tokenizer, "the tokenizer is not the one in the manifest")
    if manifest_id(manifest) != manifest.dataset:
        yield problem_at(
            warehouse,
            "manifest",
            folder / "manifest.json",
            f"somebody changed the manifest: its entries give id {manifest_id(manifest)}, not "
            f"{manifest.dataset}",
        )
    for path in unnamed_streams(folder, manifest):
        # no reader sees staging folders, and a zombie of a killed job may make one anew
        if STAGING not in str(path.relative_to(folder)).split("/"):  # type: ignore[arg-type]
            yield orphan_at(warehouse, path)
    for stream in manifest.streams:
        yield from _stream_problems(warehouse, manifest, stream)


def _stream_problems(
    warehouse: Warehouse, manifest: DatasetManifest, stream: StreamEntry
) -> Iterator[Problem]:
    path = warehouse.stream_data(manifest.dataset) / stream.path
    shards = [file for file in stream.files if file.name != INDEX]
    samples = sum(file.samples for file in shards)
    if samples != stream.samples:
        yield problem_at(
            warehouse,
            "count",
            path,
            f"the shards contain {num_text(samples, 'sample')}, but the manifest says {stream.samples:,}",
        )
    if stream.tokens != stream.samples * manifest.seq_len or stream.tail_tokens >= manifest.seq_len:
        yield problem_at(
            warehouse,
            "count",
            path,
            f"{num_text(stream.tokens, 'token')} and {num_text(stream.tail_tokens, 'left-over token')} do "
            f"not agree with {num_text(stream.samples, 'sample')} of {num_text(manifest.seq_len, 'token')}",
        )
    index, shard_format = path / INDEX, shard_format_of(manifest)
    expected = shard_format.index_bytes(shards) if shards and shard_format else None
    if expected is not None and index.is_file() and index.read_bytes() != expected:
        yield problem_at(warehouse, "index", index, "the file differs from the manifest")


def origin_problems(warehouse: Warehouse, manifest: DatasetManifest) -> Iterator[Problem]:
    """What a dataset says about the corpora that it was made from, against those corpora."""
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    documents: dict[tuple[str, str], int] = {}
    for reference in manifest.corpora:
        name = f"{reference.corpus}@v{reference.version}"
        try:
            version = read_corpus_version(warehouse, reference.corpus, reference.version)
        except DmixError as error:
            yield problem_at(warehouse, "missing", path, f"input corpus {name}: {error.message}")
            return
        if content_digest(version) != reference.manifest_sha256:
            yield problem_at(
                warehouse, "hash", path, f"corpus {name} has changed since dmix made the dataset"
            )
        for label, count in version.domain_documents().items():
            documents[version.field, label] = documents.get((version.field, label), 0) + count
    screened = {"duplicates", "contamination"} & set(manifest.settings)
    for stream in manifest.streams:
        found = documents.get((stream.field, stream.domain), 0)
        if stream.documents > found or (not screened and stream.documents != found):
            has = num_text(stream.documents, "document")
            detail = f"{stream.path} has {has}, but the corpora have {found:,}"
            yield problem_at(warehouse, "count", path, detail)
