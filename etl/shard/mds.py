"""MDS shards: their bytes, the index of a stream, and reading a header back.

The bytes are those of `streaming.MDSWriter` (mosaicml-streaming 0.13, MDS format version 2)
for one `tokens` column of fixed shape, without compression; a test compares them. We write
them ourselves because samples of one shape need no loop over samples (20 times as fast), and
because importing `streaming` costs every Spark worker 7 seconds and 0.8 GB for torch and
transformers. Traded away: columns of any other kind, and compression.

Layout of a shard: n (uint32), n + 1 offsets (uint32), the configuration as JSON, n samples.
Shapes: K samples, L tokens per sample.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dmix.etl.shard.packing import Tokens
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import StreamFile
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import parse_json

WRITER_FORMAT = 1
"""Part of every dataset's id; raised when the same input would become other bytes."""

_UINT32 = 4


@dataclass(frozen=True, kw_only=True)
class ShardFormat:
    """How the samples of a dataset are stored.

    Attributes:
        seq_len: Tokens a sample.
        dtype: numpy name of the stored ids.
        shard_bytes: Largest size of a shard.

    Raises:
        InputError: If a shard could not hold a single sample.
    """

    seq_len: int
    dtype: str
    shard_bytes: int

    def __post_init__(self) -> None:
        smallest = 2 * _UINT32 + len(self.config_bytes) + self.sample_bytes + _UINT32
        if not smallest <= self.shard_bytes < 1 << 32:
            raise InputError(
                f"--shard-bytes is {self.shard_bytes:,}, expected {smallest:,} to {(1 << 32) - 1:,} for "
                f"samples of {num_text(self.seq_len, 'token')}; change --shard-bytes or --seq-len"
            )

    @property
    def sample_bytes(self) -> int:
        return self.seq_len * np.dtype(self.dtype).itemsize

    @property
    def config(self) -> dict[str, Any]:
        """What every shard and every index entry says about the samples."""
        return {
            "version": 2,
            "format": "mds",
            "compression": None,
            "hashes": ["sha256"],
            "size_limit": self.shard_bytes,
            "column_names": ["tokens"],
            "column_encodings": [f"ndarray:{self.dtype}:{self.seq_len}"],
            "column_sizes": [self.sample_bytes],
        }

    @cached_property
    def config_bytes(self) -> bytes:
        return json.dumps(self.config, sort_keys=True).encode()

    @property
    def samples_per_shard(self) -> int:
        fixed = 2 * _UINT32 + len(self.config_bytes)
        return (self.shard_bytes - fixed) // (self.sample_bytes + _UINT32)

    def header(self, samples: int) -> bytes:
        """All bytes before the samples."""
        offsets = np.arange(samples + 1, dtype=np.int64) * self.sample_bytes
        offsets += (samples + 2) * _UINT32 + len(self.config_bytes)
        return b"".join([np.uint32(samples).tobytes(), offsets.astype("<u4").tobytes(), self.config_bytes])

    def index_entry(self, file: StreamFile) -> dict[str, Any]:
        """What the index of a stream says about one shard."""
        raw = {"basename": file.name, "bytes": file.size_bytes, "hashes": {"sha256": file.sha256}}
        return {**self.config, "samples": file.samples, "raw_data": raw, "zip_data": None}

    def index_bytes(self, shards: Sequence[StreamFile]) -> bytes:
        """The `index.json` of a stream."""
        value = {"version": 2, "shards": [self.index_entry(file) for file in shards]}
        return json.dumps(value, sort_keys=True).encode()


class ShardWriter:
    """Writes samples as shards `shard.<part>.<n>.mds` of a folder, one open file at a time.

    Holds at most one shard of samples in memory.

    Args:
        folder: Existing folder that no other writer uses.
        format: How samples are stored.
        part: Number of the shard input within its domain.
    """

    def __init__(self, folder: Path, *, format: ShardFormat, part: int) -> None:
        self.folder, self.format, self.part = folder, format, part
        self.files: list[StreamFile] = []
        self._waiting: list[Tokens] = []
        self._samples = 0

    def write(self, samples_KL: Tokens) -> None:
        """Adds samples of the format's type, in order; writes every shard that becomes full."""
        while len(samples_KL):
            room = self.format.samples_per_shard - self._samples
            # a copy: views would keep the whole batch of tokens alive until the shard is full
            self._waiting.append(samples_KL[:room].copy())
            self._samples += len(self._waiting[-1])
            samples_KL = samples_KL[room:]
            if self._samples == self.format.samples_per_shard:
                self._flush()

    def finish(self) -> tuple[StreamFile, ...]:
        """Writes what waits; returns all shards in order."""
        if self._samples:
            self._flush()
        return tuple(self.files)

    def _flush(self) -> None:
        name = f"shard.{self.part:05}.{len(self.files):05}.mds"
        digest, size_bytes = hashlib.sha256(), 0
        with open(self.folder / name, "wb") as file:
            for chunk in (self.format.header(self._samples), *self._waiting):
                view = memoryview(chunk).cast("B")  # type: ignore[arg-type]
                file.write(view)
                digest.update(view)
                size_bytes += len(view)
            file.flush()
            os.fsync(file.fileno())
        self.files.append(
            StreamFile(name=name, size_bytes=size_bytes, sha256=digest.hexdigest(), samples=self._samples)
        )
        self._waiting, self._samples = [], 0


def header_problem(content: bytes, *, entry: Mapping[str, Any]) -> str | None:
    """What is wrong between a shard's header and its index entry; `None` if they agree.

    Args:
        content: The shard's bytes, or at least its header.
        entry: The shard's entry in `index.json`.
    """
    if len(content) < 2 * _UINT32:
        return f"{len(content)} bytes are too few for an MDS header"
    samples = int(np.frombuffer(content, "<u4", count=1)[0])
    if samples != entry["samples"]:
        return f"the header says {num_text(samples, 'sample')}, but the index says {entry['samples']:,}"
    if len(content) < (samples + 2) * _UINT32:
        return "the header is cut off"
    offsets = np.frombuffer(content, "<u4", count=samples + 1, offset=_UINT32).astype(np.int64)
    sizes = np.diff(offsets)
    expected = sum(entry["column_sizes"])
    if (sizes != expected).any():
        return (
            f"the header has samples of {sizes.min():,} to {sizes.max():,} bytes, but the index says"
            f" {expected:,}"
        )
    if offsets[-1] != entry["raw_data"]["bytes"]:
        return f"the header ends at byte {offsets[-1]:,}, but the index says {entry['raw_data']['bytes']:,}"
    try:
        config = parse_json(content[(samples + 2) * _UINT32 : offsets[0]])
    except ValueError:
        return "the header's configuration is not JSON"
    if not isinstance(config, dict):
        return "the header's configuration is not a JSON object"
    different = sorted(name for name in config if config[name] != entry.get(name))
    if different:
        return f"header and index differ in {', '.join(different)}"
    return None
