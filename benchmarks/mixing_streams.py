"""What the mixing benchmarks read: 52 streams of random tokens, or indices without shards."""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from streaming import MDSWriter

from dmix.warehouse_schema.files.manifests import DatasetManifest, StreamEntry, StreamFile, TokenizerFile
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, FIELDS, slug

SEQ_LEN = 512
DOMAINS = [(field, label) for field in FIELDS for label in DEFAULT_TAXONOMY.labels]
INDEX_SHARD_SAMPLES = 65_000


def write_streams(folder: Path, *, samples: int) -> DatasetManifest:
    """Random tokens in 52 streams of unequal size."""
    rng = np.random.default_rng(0)
    sizes = np.maximum(1, (rng.dirichlet(np.full(52, 2.0)) * samples).astype(np.int64)).tolist()

    def write(domain: int) -> list[int]:
        path = folder / stream_path(domain)
        tokens = np.random.default_rng(domain).integers(0, 8192, (sizes[domain], SEQ_LEN)).astype(np.uint16)
        column = {"tokens": f"ndarray:uint16:{SEQ_LEN}"}
        with MDSWriter(out=str(path), columns=column, size_limit=2**20) as writer:
            for row in tokens:
                writer.write({"tokens": row})
        return [shard["samples"] for shard in json.loads((path / "index.json").read_text())["shards"]]

    with ThreadPoolExecutor(8) as pool:
        return manifest_of(list(pool.map(write, range(52))), folder=folder)


def write_index(folder: Path, *, samples: int) -> DatasetManifest:
    """Indices of 52 streams whose shards of 65,000 samples do not exist."""
    size = samples // 52
    whole, rest = divmod(size, INDEX_SHARD_SAMPLES)
    shards = [INDEX_SHARD_SAMPLES] * whole + ([rest] if rest else [])
    described = [
        {
            "column_encodings": [f"ndarray:uint16:{SEQ_LEN}"],
            "column_names": ["tokens"],
            "column_sizes": [2 * SEQ_LEN],
            "compression": None,
            "format": "mds",
            "hashes": [],
            "raw_data": {"basename": f"shard.{i:05}.mds", "bytes": 2 * SEQ_LEN * count, "hashes": {}},
            "samples": count,
            "size_limit": 2**26,
            "version": 2,
            "zip_data": None,
        }
        for i, count in enumerate(shards)
    ]
    index = json.dumps({"version": 2, "shards": described})
    for domain in range(52):
        path = folder / stream_path(domain)
        path.mkdir(parents=True)
        (path / "index.json").write_text(index)
    return manifest_of([shards] * 52, folder=folder)


def stream_path(domain: int) -> str:
    field, label = DOMAINS[domain]
    return f"{field}/{slug(label)}"


def manifest_of(shards: Sequence[list[int]], *, folder: Path | None = None) -> DatasetManifest:
    """The manifest of 52 streams, given the samples of their shards and the folder of indices, if any."""
    return DatasetManifest(
        dataset="benchmark",
        name="",
        taxonomy=DEFAULT_TAXONOMY,
        tokenizer=TokenizerFile(name="none", sha256="", vocab_size=8192, eot_id=0),
        seq_len=SEQ_LEN,
        token_dtype="uint16",
        seed=0,
        corpora=(),
        streams=tuple(_entry(domain, counts, folder) for domain, counts in enumerate(shards)),
        created_at=datetime.now(UTC).isoformat(),
    )


def _entry(domain: int, shards: list[int], folder: Path | None) -> StreamEntry:
    field, label = DOMAINS[domain]
    index = b"" if folder is None else (folder / stream_path(domain) / "index.json").read_bytes()
    digest = hashlib.sha256(index).hexdigest()
    files = [StreamFile(name="index.json", size_bytes=len(index), sha256=digest, samples=0)]
    files += [StreamFile(name="", size_bytes=0, sha256="", samples=count) for count in shards]
    return StreamEntry(
        field=field,
        domain=label,
        path=stream_path(domain),
        documents=0,
        samples=sum(shards),
        tokens=sum(shards) * SEQ_LEN,
        tail_tokens=0,
        files=tuple(files),
    )
