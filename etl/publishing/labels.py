"""Label files: one row per document, sorted by domain, so that one domain can be read alone.

Documents are collected up to `CHUNK_BYTES` of text, sorted by label (stable, so that they keep
their order within a domain) and written as one Parquet file. Equal documents in equal order give
equal bytes: no time stamps, no statistics of long texts, one thread.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.warehouse_schema.files.manifests import DomainRows, LabelFile
from dmix.warehouse_schema.light_arrow import array_of, compute

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "text": pa.string(),
        "path": pa.string(),
        "position": pa.int64(),
        "label": pa.string(),
        "probability": pa.float32(),
        "margin": pa.float32(),
    }
)

CHUNK_BYTES = 64 << 20
"""Text of one label file, and what a worker holds of it (about three times, while it sorts)."""

ROW_GROUP_BYTES = 8 << 20
"""Text of one row group; a row group never holds two domains."""


class LabelWriter:
    """Collects labelled documents and writes them as `00000.parquet`, `00001.parquet`, …

    Args:
        folder: An existing folder.
        labels: Order of the domains in the files; None for alphabetical order.
        chunk_bytes: Text of one file, unless one batch is longer.
    """

    def __init__(self, folder: Path, *, labels: Sequence[str] | None, chunk_bytes: int = CHUNK_BYTES) -> None:
        self._folder, self._labels, self._chunk_bytes = folder, labels, chunk_bytes
        self._batches: list[pa.Table] = []
        self._size_bytes = 0
        self._files: list[LabelFile] = []

    def add(self, batch: pa.Table) -> None:
        """Takes some documents in the form of `SCHEMA`, in reading order."""
        size_bytes = compute("sum", compute("binary_length", batch.column("text"))).as_py() or 0
        if self._batches and self._size_bytes + size_bytes > self._chunk_bytes:
            self._flush()
        self._batches.append(batch)
        self._size_bytes += size_bytes

    def close(self) -> tuple[LabelFile, ...]:
        """Writes what is left; returns all files in order."""
        if self._batches:
            self._flush()
        return tuple(self._files)

    def _flush(self) -> None:
        chunk = pa.concat_tables(self._batches)
        self._batches, self._size_bytes = [], 0
        if not chunk.num_rows:  # every document of the part was rejected
            return
        names = self._labels or sorted(set(chunk.column("label").to_pylist()))
        name = f"{len(self._files):05}.parquet"
        domains = write_labels(self._folder / name, chunk, {label: i for i, label in enumerate(names)})
        size_bytes, sha256 = seal(self._folder / name)
        self._files.append(LabelFile(name=name, sha256=sha256, size_bytes=size_bytes, domains=domains))


def write_labels(path: Path, chunk: pa.Table, ranks: Mapping[str, int]) -> tuple[DomainRows, ...]:
    """Writes a label file; returns its runs of rows.

    Args:
        path: The new file.
        chunk: Documents in the form of `SCHEMA`.
        ranks: Place of each label in the order of the domains.
    """
    labels = chunk.column("label").to_pylist()
    rank_D = np.fromiter((ranks[label] for label in labels), dtype=np.int64, count=len(labels))
    order_D = np.argsort(rank_D, kind="stable")
    ordered = compute("take", chunk, array_of(order_D)).combine_chunks()
    bytes_D = compute("binary_length", ordered.column("text")).to_numpy()
    domains = []
    with pq.ParquetWriter(
        path,
        SCHEMA,
        compression="zstd",
        compression_level=1,
        use_dictionary=["path", "label"],
        write_statistics=["path", "position", "label"],
    ) as writer:
        for start, stop in _runs(rank_D[order_D]):
            for first, end in _row_groups(bytes_D, start, stop):
                writer.write_table(ordered.slice(first, end - first), row_group_size=end - first)
            text_bytes = int(bytes_D[start:stop].sum())
            label = labels[order_D[start]]
            domains.append(DomainRows(label=label, documents=stop - start, text_bytes=text_bytes))
    return tuple(domains)


def seal(path: Path) -> tuple[int, str]:
    """Makes a finished file durable; returns (size in bytes, SHA-256)."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def _runs(rank_D: np.ndarray) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of equal values."""
    borders = np.flatnonzero(np.diff(rank_D)) + 1
    starts, stops = [0, *borders.tolist()], [*borders.tolist(), len(rank_D)]
    yield from zip(starts, stops, strict=True)


def _row_groups(bytes_D: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of pieces of about `ROW_GROUP_BYTES` each."""
    group_D = np.cumsum(bytes_D[start:stop], dtype=np.int64) // ROW_GROUP_BYTES
    for first, end in _runs(group_D):
        yield start + first, start + end
