"""What is published in a warehouse: versions of corpora, datasets.

A manifest is the only thing that makes files visible: what no manifest names does not exist.
Manifests are never changed; a new state of a corpus is a new version, a new setting of a
dataset a new dataset. `dmix.etl` writes them, the catalog is an index over them.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, checked_name, json_of, publish_json, read_json
from dmix.warehouse_schema.files.manifest_json import digest_of, manifest_from_json, manifest_to_json
from dmix.warehouse_schema.files.names import inner_path, plain_name
from dmix.warehouse_schema.files.storage import Place
from dmix.warehouse_schema.taxonomy import FIELDS, Taxonomy, slug

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """One file that a user gave.

    Attributes:
        path: As found, relative to nothing: absolute path or URL.
        name: Path below the folder or glob that the user named; part of document ids.
        size_bytes: Size as stored, compressed.
        sha256: Hash of the stored bytes.
        format: `jsonl`, `parquet` or `text`.
        compression: `none`, `gzip`, `zstd` or `bz2`.
    """

    path: str
    name: str
    size_bytes: int
    sha256: str
    format: str
    compression: str


@dataclass(frozen=True, kw_only=True)
class DomainRows:
    """A run of rows of one domain in a label file, which is sorted by domain.

    Attributes:
        label: Domain label.
        documents: Rows of this domain in the file.
        text_bytes: UTF-8 bytes of their texts.
    """

    label: str
    documents: int
    text_bytes: int


@dataclass(frozen=True, kw_only=True)
class LabelFile:
    """One Parquet file of labelled documents.

    Attributes:
        name: File name inside the part's folder.
        sha256: Hash of its bytes.
        domains: Its runs of rows in file order.
    """

    name: str
    sha256: str
    size_bytes: int
    domains: tuple[DomainRows, ...]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A stretch of one large input, which is classified and published by itself.

    Attributes:
        index: Its place among the pieces of its input, from 0.
        count: How many pieces the input has.
        start: Where it starts: a byte of the (decompressed) lines, or a row group of Parquet.
        stop: Where the next one starts.
        first: Position of its first line or row, from 1.
        crc32: Checksum of its bytes: decompressed lines, or row groups as they are stored.
    """

    index: int
    count: int
    start: int
    stop: int
    first: int
    crc32: int


@dataclass(frozen=True, kw_only=True)
class LabelPart:
    """What one or several inputs became: immutable files under `parts/<fingerprint>/`.

    Attributes:
        fingerprint: Of the inputs' bytes and names, the classifier, and the columns read.
        inputs: The live inputs of the part.
        piece: Which stretch of its one input the part holds; None for all of its inputs.
        files: Label files in order.
        rejected: Number of documents not taken, by reason.
        reject_files: Names of the Parquet files under `rejects/<corpus>/<fingerprint>/`.
        fallback_documents: Documents about which the classifier asked its fallback.
    """

    fingerprint: str
    inputs: tuple[InputFile, ...]
    files: tuple[LabelFile, ...]
    rejected: Mapping[str, int]
    reject_files: tuple[LabelFile, ...] = ()
    piece: Piece | None = None
    fallback_documents: int = 0

    @property
    def documents(self) -> int:
        return sum(rows.documents for file in self.files for rows in file.domains)


@dataclass(frozen=True, kw_only=True)
class CorpusVersion:
    """Version k of a corpus: `labels/<corpus>/v<k>.json`.

    Attributes:
        classifier: Name that the user gave, for example `embedded` or `column:origin`.
        classifier_fingerprint: Hash of its weights and settings.
        synthetic: True if a model wrote the documents.
        generation: Of a synthetic corpus, what is known of how it was written: names of models and
            counts of documents and tokens (`dmix.etl.synthetic.inputs`).
        created_at: ISO 8601, UTC.
    """

    corpus: str
    version: int
    field: str
    taxonomy: Taxonomy
    classifier: str
    classifier_fingerprint: str
    parts: tuple[LabelPart, ...]
    created_at: str
    synthetic: bool = False
    generation: Mapping[str, Any] | None = None

    @property
    def documents(self) -> int:
        return sum(part.documents for part in self.parts)

    @property
    def rejected(self) -> int:
        return sum(sum(part.rejected.values()) for part in self.parts)

    def domain_documents(self) -> dict[str, int]:
        """Documents of each label that occurs, in taxonomy order."""
        counts = dict.fromkeys(self.taxonomy.labels, 0)
        for part in self.parts:
            for file in part.files:
                for rows in file.domains:
                    counts[rows.label] += rows.documents
        return {label: count for label, count in counts.items() if count}


@dataclass(frozen=True, kw_only=True)
class TokenizerFile:
    """The tokenizer of a dataset: `streams/<dataset>/tokenizer.json`.

    Attributes:
        name: What the user gave: `embedded`, a path or a hub id.
        sha256: Hash of the file.
        vocab_size: Number of ids, added ones included.
        eot_id: Id of the end-of-text token that stands after every document.
        eot_token: Its text; empty if the tokenizer has one of the usual names for it.
    """

    name: str
    sha256: str
    vocab_size: int
    eot_id: int
    eot_token: str = ""


@dataclass(frozen=True, kw_only=True)
class StreamFile:
    """One file of a stream: a shard or the index.

    Attributes:
        name: File name inside the stream's folder.
        sha256: Hash of its bytes.
        samples: Samples of a shard; 0 for the index.
    """

    name: str
    size_bytes: int
    sha256: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class StreamEntry:
    """The MDS stream of one (field, domain); domains without a full sample have no files.

    Attributes:
        path: Folder below the dataset's, `<field>/<slug>`.
        documents: Documents that were encoded.
        samples: Samples of `seq_len` tokens in the shards.
        tokens: Tokens in the shards, `samples * seq_len`.
        tail_tokens: Tokens encoded but not in a shard: the last partial sample.
        files: The index first, then the shards in order.
    """

    field: str
    domain: str
    path: str
    documents: int
    samples: int
    tokens: int
    tail_tokens: int
    files: tuple[StreamFile, ...]

    @property
    def shards(self) -> int:
        return max(0, len(self.files) - 1)

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class CorpusReference:
    """A corpus version that a dataset was made from.

    Attributes:
        manifest_sha256: `digest_of` what identifies its content: see `content_digest`.
    """

    corpus: str
    version: int
    field: str
    synthetic: bool
    manifest_sha256: str


@dataclass(frozen=True, kw_only=True)
class DatasetManifest:
    """A dataset: `streams/<dataset>/manifest.json`, written last.

    Attributes:
        dataset: Id, the first 16 digits of the hash of what it is made from.
        name: Name that the user gave, or empty.
        seq_len: Tokens per sample.
        token_dtype: numpy name of the stored ids: `uint16` or `uint32`.
        seed: Default seed of the sample order of runs.
        streams: One entry for each of the N (field, domain) pairs, in domain-space order.
        settings: What else went into the id (duplicates, decontamination, writer format).
        kept_out: Digest of each evaluation item that was kept out of the text (`item_digest`), sorted; no
            part of the id. None for datasets of dmix 0.1, which did not record them.
    """

    dataset: str
    name: str
    taxonomy: Taxonomy
    tokenizer: TokenizerFile
    seq_len: int
    token_dtype: str
    seed: int
    corpora: tuple[CorpusReference, ...]
    streams: tuple[StreamEntry, ...]
    created_at: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    kept_out: tuple[str, ...] | None = None


def item_digest(question: str, answer: str) -> str:
    """What a dataset records of an evaluation item that was kept out of it, 16 digits."""
    return digest_of([question, answer])[:16]


def content_digest(version: CorpusVersion) -> str:
    """Hash of what a corpus version holds; its number and time are left out."""
    return digest_of(
        {
            "field": version.field,
            "synthetic": version.synthetic,
            "taxonomy": version.taxonomy.to_json(),
            "parts": [part.fingerprint for part in version.parts],
            "files": [file.sha256 for part in version.parts for file in part.files],
        }
    )


def samples_digest(manifest: DatasetManifest) -> str:
    """Hash of what decides the samples of a dataset, their ids and what they mean."""
    return digest_of(
        {
            "taxonomy": list(manifest.taxonomy.labels),
            "seq_len": manifest.seq_len,
            "token_dtype": manifest.token_dtype,
            "tokenizer": [
                manifest.tokenizer.sha256,
                manifest.tokenizer.vocab_size,
                manifest.tokenizer.eot_id,
            ],
            "streams": [
                [stream.field, stream.domain, stream.path, stream.samples]
                + [[file.name, file.sha256, file.samples] for file in stream.files]
                for stream in manifest.streams
            ],
        }
    )


def write_corpus_version(warehouse: Warehouse, version: CorpusVersion) -> Path:
    """Publishes a version; this is the step that makes its parts visible."""
    name, value = f"v{version.version}.json", manifest_to_json(version)
    path = warehouse.labels(version.corpus) / name
    if warehouse.data != warehouse.root:
        publish_json(warehouse.label_data(version.corpus) / name, value)
    publish_json(path, value)
    return path


def write_dataset_manifest(warehouse: Warehouse, manifest: DatasetManifest) -> Path:
    """Publishes a dataset; this is the step that makes its streams visible."""
    value = manifest_to_json(manifest)
    path = warehouse.stream(manifest.dataset) / "manifest.json"
    if warehouse.data != warehouse.root:
        publish_json(warehouse.stream_data(manifest.dataset) / path.name, value)
    publish_json(path, value)
    return path


def corpus_versions(warehouse: Warehouse, corpus: str) -> list[int]:
    """Published version numbers of a corpus, ascending; empty if there is none."""
    folder = warehouse.labels(corpus)
    found = (re.fullmatch(r"v([1-9][0-9]*)\.json", path.name) for path in folder.glob("v*.json"))
    return sorted(int(match[1]) for match in found if match)


def corpora(warehouse: Warehouse) -> list[str]:
    """Names of all published corpora, sorted."""
    return [name for name in warehouse.names("labels", "v*.json") if corpus_versions(warehouse, name)]


def read_corpus_version(warehouse: Warehouse, corpus: str, version: int | None = None) -> CorpusVersion:
    """A version of a corpus, the newest by default.

    Raises:
        NotFoundError: If there is no such corpus or version.
        InputError: If the file is damaged or from a newer dmix.
    """
    versions = corpus_versions(warehouse, corpus)
    if not versions:
        known = ", ".join(corpora(warehouse)) or "none yet"
        raise NotFoundError(
            f"corpus {corpus!r} is not in {warehouse.root} (available: {known}); run 'dmix etl classify'"
        )
    chosen = versions[-1] if version is None else version
    if chosen not in versions:
        raise NotFoundError(
            f"corpus {corpus!r} has no version {chosen} (available: {versions[0]} to {versions[-1]})"
        )
    path = warehouse.labels(corpus) / f"v{chosen}.json"
    found = load_manifest(CorpusVersion, path)
    if (found.corpus, found.version) != (corpus, chosen):
        raise InputError(
            f"{path} belongs to corpus {found.corpus!r} version {found.version}; restore the right file "
            "from a copy, or run 'dmix etl classify' again"
        )
    return found


def datasets(warehouse: Warehouse) -> list[str]:
    """Ids of all published datasets, sorted."""
    return warehouse.names("streams", "manifest.json")


def read_dataset_manifest(warehouse: Warehouse, dataset: str | None = None) -> DatasetManifest:
    """A dataset by id or name; `None` takes the only one that there is.

    Raises:
        NotFoundError: If there is no such dataset, or none at all.
        InputError: If the choice is open, or the file is damaged or from a newer dmix.
    """
    manifests = [
        load_manifest(DatasetManifest, path)
        for path in (warehouse.stream(name) / "manifest.json" for name in datasets(warehouse))
    ]
    if not manifests:
        raise NotFoundError(f"{warehouse.root} has no dataset; run 'dmix etl shard' first")
    listed = ", ".join(f"{m.dataset} ({m.name})" if m.name else m.dataset for m in manifests)
    chosen = manifests if dataset is None else [m for m in manifests if dataset in (m.dataset, m.name)]
    if not chosen:
        raise NotFoundError(f"dataset {dataset!r} is not in {warehouse.root} (available: {listed})")
    if len(chosen) > 1:
        named = "the warehouse has {} datasets" if dataset is None else "{} datasets have the name {!r}"
        raise InputError(
            f"{named.format(len(chosen), dataset)}; choose one with --dataset {chosen[-1].dataset} "
            f"(id or name; available: {listed})"
        )
    return chosen[0]


def dataset_in(warehouse: Warehouse, name: str) -> DatasetManifest:
    """The dataset in a folder of streams, whatever is in the other folders.

    Raises:
        NotFoundError: If the folder has no manifest.
        InputError: If it is a link, or its manifest is damaged, from a newer dmix, or of another dataset.
    """
    path = warehouse.stream(name) / "manifest.json"
    manifest = load_manifest(DatasetManifest, path)
    if manifest.dataset != name:
        raise InputError(
            f"{path} belongs to dataset {manifest.dataset!r}; restore it from a copy, or remove it"
        )
    return manifest


def load_manifest(cls: type[T], path: Path) -> T:
    """The `CorpusVersion` or `DatasetManifest` in the file at `path`.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it is damaged or from a newer dmix.
    """
    return _manifest(cls, read_json(path), path)


def manifest_from_bytes(cls: type[T], content: bytes, where: Place) -> T:
    """The `CorpusVersion` or `DatasetManifest` in the content of the file at `where`.

    Raises:
        InputError: If it is damaged or from a newer dmix.
    """
    return _manifest(cls, json_of(content, where), where)


def _manifest(cls: type[T], value: Any, where: Place) -> T:
    """The manifest that a value of JSON says, if its names stay in their folders."""
    return manifest_from_json(cls, value, where, check=_CHECKS[cls])


def _check_corpus(version: CorpusVersion, where: object) -> None:
    """Raises an InputError unless every name stays in its folder."""
    checked_name("corpus", version.corpus)
    if version.field not in FIELDS:
        raise InputError(f"{where} has the field {version.field!r}, expected one of {', '.join(FIELDS)}")
    for part in version.parts:
        check_part(part, where)
    known = set(version.taxonomy.labels)
    for rows in (rows for part in version.parts for file in part.files for rows in file.domains):
        if rows.label not in known:
            raise InputError(
                f"{where} names the label {rows.label[:80]!r}, which its taxonomy"
                f" {version.taxonomy.name!r} does not have; restore it from a copy"
            )


def check_part(part: LabelPart, where: object) -> None:
    """Raises an InputError unless every name of a part stays in its folder."""
    plain_name(part.fingerprint, what="part", where=where)
    for file in (*part.files, *part.reject_files):
        plain_name(file.name, what="file", where=where)


def _check_dataset(manifest: DatasetManifest, where: object) -> None:
    """Raises an InputError unless every stream and file stays in its folder."""
    checked_name("dataset", manifest.dataset)
    for reference in manifest.corpora:
        checked_name("corpus", reference.corpus)
    seen = set()
    for stream in manifest.streams:
        if stream.field not in FIELDS:
            raise InputError(f"{where} has the field {stream.field!r}, expected one of {', '.join(FIELDS)}")
        inner_path(stream.path, what="stream", where=where)
        if stream.path != f"{stream.field}/{slug(stream.domain)}" or stream.path in seen:
            raise InputError(
                f"{where} has the stream of {stream.field}/{stream.domain} in {stream.path!r}, expected "
                f"'{stream.field}/{slug(stream.domain)}' and only once; run 'dmix etl shard' again"
            )
        seen.add(stream.path)
        for file in stream.files:
            plain_name(file.name, what="shard", where=where)


_CHECKS: dict[Any, Any] = {CorpusVersion: _check_corpus, DatasetManifest: _check_dataset}
