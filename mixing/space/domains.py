"""The domain space: N ordered (field, domain) pairs, and what is natural in it.

Shapes: N = 2 x taxonomy size, source first (the paper's 26 x 2 = 52); F = 2 fields.
All vectors are float64 and read-only. A domain without samples is masked: it has weight 0 in every mixture.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import DatasetManifest
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.taxonomy import FIELDS

Array = NDArray[np.float64]
Vector = Array  # with one axis
AnyArray = TypeVar("AnyArray", bound=NDArray[Any])


def read_only(array: AnyArray) -> AnyArray:
    """The array in bytes of its own, which nothing is written into: numpy lets nobody set it writable again.

    A view of a writable array is only read-only until somebody says otherwise.
    """
    if isinstance(array.base, bytes):
        return array
    order: Literal["C", "F"] = "F" if array.flags.fnc else "C"  # sums over another order differ in last bits
    kept: Any = np.ndarray(array.shape, array.dtype, buffer=array.tobytes(order), order=order)
    return cast(AnyArray, kept)


@dataclass(frozen=True, eq=False)
class DomainSpace:
    """Labels of a taxonomy in both fields, with the number of samples that each pair holds.

    Attributes:
        labels: Domain labels in taxonomy order, length N / 2.
        samples_N: Samples of the dataset a pair, int64, shape (N,), source first.

    Raises:
        InputError: If the shapes disagree or no domain has samples.
    """

    labels: tuple[str, ...]
    samples_N: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.samples_N.shape != (2 * len(self.labels),):
            raise InputError(
                f"{num_text(self.samples_N.shape[0], 'sample count')} for "
                f"{num_text(len(self.labels), 'label')}, expected two per label"
            )
        if not self.samples_N.any():
            raise InputError("no domain has a single sample; add text or shorten --seq-len")
        object.__setattr__(self, "samples_N", read_only(self.samples_N.copy()))

    @classmethod
    def of_dataset(cls, manifest: DatasetManifest) -> "DomainSpace":
        """The space of a published dataset."""
        labels = manifest.taxonomy.labels
        samples = {(s.field, s.domain): s.samples for s in manifest.streams}
        counts = [samples.get((field, label), 0) for field in FIELDS for label in labels]
        return cls(labels, np.asarray(counts, dtype=np.int64))

    def __len__(self) -> int:
        return 2 * len(self.labels)

    @cached_property
    def names(self) -> tuple[tuple[str, str], ...]:
        """(field, domain) of every index."""
        return tuple((field, label) for field in FIELDS for label in self.labels)

    @cached_property
    def active_N(self) -> NDArray[np.bool_]:
        """True where a domain has samples."""
        return read_only(self.samples_N > 0)

    @cached_property
    def target_N(self) -> NDArray[np.bool_]:
        """True on the target field."""
        return read_only(np.arange(len(self)) >= len(self.labels))

    @cached_property
    def natural_N(self) -> Vector:
        """Shares of samples over both fields: the mixture of drawing uniformly from everything."""
        return read_only(self.samples_N / self.samples_N.sum())

    @cached_property
    def start_N(self) -> Vector:
        """rho_s: shares of the source field, 0 on the target (method §1).

        Raises:
            InputError: If the source field has no samples.
        """
        return self._field_shares(0)

    @cached_property
    def target_state_N(self) -> Vector:
        """rho_t: 0 on the source, shares of the target field (method §1).

        Raises:
            InputError: If the target field has no samples.
        """
        return self._field_shares(1)

    def _field_shares(self, field: int) -> Vector:
        counts_N = np.where(self.target_N == bool(field), self.samples_N, 0)
        if not counts_N.any():
            raise InputError(
                f"the {FIELDS[field]} field has no samples; make a dataset with a "
                f"{FIELDS[field]} corpus (dmix etl shard)"
            )
        return read_only(counts_N / counts_N.sum())

    def coarsen(self, mixture_N: Vector) -> Vector:
        """Sums within fields: (..., N) to (..., 2) = (source share, target share)."""
        return np.stack(
            [mixture_N[..., ~self.target_N].sum(-1), mixture_N[..., self.target_N].sum(-1)], axis=-1
        )

    def expand(self, mixture_F: Vector) -> Vector:
        """Spreads (source share, target share) by natural shares within fields: (..., 2) to (..., N)."""
        return mixture_F[..., :1] * self.start_N + mixture_F[..., 1:] * self.target_state_N
