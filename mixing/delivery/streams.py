"""How many samples each domain holds, shard by shard, and which global ids they have.

Shapes: N (field, domain) pairs in domain-space order. The streams of the non-empty domains
stand one after the other in that order, so the global id of a sample is the offset of its
stream plus its position in the stream, which is also how StreamingDataset numbers them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StreamSizes:
    """Shard sizes of every domain; all that planning needs to know about the data.

    Attributes:
        shard_samples: Samples of each shard, one int64 array a domain, empty for a domain
            without samples; length N.
        target_N: True on the target field, shape (N,).

    Raises:
        InputError: If the lengths disagree, a shard is empty, or nothing can be drawn.
    """

    shard_samples: tuple[Counts, ...]
    target_N: NDArray[np.bool_]

    def __post_init__(self) -> None:
        size = len(self.shard_samples)
        if len(self.target_N) != size:
            raise InputError(
                f"got shards of {num_text(size, 'domain')}, but fields of {len(self.target_N)}; give both "
                "for each domain"
            )
        if any((shards <= 0).any() for shards in self.shard_samples):
            raise InputError("a shard has no samples; leave this shard out of the sizes")
        if not self.samples_N.any():
            raise InputError("no domain has a single sample; add text or shorten --seq-len")

    @classmethod
    def of_manifest(cls, manifest: DatasetManifest) -> "StreamSizes":
        """The sizes that a published dataset states, one entry a (field, domain)."""
        shards = tuple(
            np.array([file.samples for file in stream.files if file.samples], dtype=np.int64)
            for stream in manifest.streams
        )
        return cls(shards, np.array([stream.field == FIELDS[1] for stream in manifest.streams]))

    def __len__(self) -> int:
        return len(self.shard_samples)

    @cached_property
    def samples_N(self) -> Counts:
        """Samples of one pass; 0 for empty domains."""
        return np.array([shards.sum() for shards in self.shard_samples], dtype=np.int64)

    @cached_property
    def offsets_N(self) -> Counts:
        """Global id of the first sample of each domain."""
        return self.samples_N.cumsum() - self.samples_N

    def domains_of(self, ids: Counts) -> Counts:
        """Domain index of each global id, any shape."""
        # The last of several equal offsets is the domain that holds samples.
        return np.searchsorted(self.offsets_N, ids, side="right").astype(np.int64) - 1

    def count(self, ids: Counts) -> Counts:
        """How many of the ids fall on each domain, shape (N,)."""
        return np.bincount(self.domains_of(ids).ravel(), minlength=len(self)).astype(np.int64)
