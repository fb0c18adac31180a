"""The two inner loops of the linear classifier, compiled where a C compiler was there at installation.

`loops.c` is the extension `_loops`. Without it, `features.py` and `linear.py` do the same in NumPy and
SciPy: the same numbers, bit for bit, at three to four times the cost. So an installation without a
compiler is slower, and differs in nothing else.
"""

import ctypes
import functools
from ctypes import c_int64, c_void_p
from importlib import machinery
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

INTERFACE = 1
"""Version of what the functions take: a library that an older version left behind is not called."""


@functools.cache
def compiled() -> ctypes.CDLL | None:
    """The compiled loops, None if they are not there or are of another version."""
    for suffix in machinery.EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_loops{suffix}")
        if not path.is_file():
            continue
        try:
            library = ctypes.CDLL(str(path))
            fits = library.dmix_loops_interface() == INTERFACE
        except (OSError, AttributeError):  # of another machine, or of another origin
            return None
        if fits:
            library.dmix_document_features.restype = c_int64
            library.dmix_row_sums.restype = None
            return library
    return None


def compiled_features(
    library: ctypes.CDLL,
    ids: NDArray[np.unsignedinteger],
    lengths: NDArray[np.integer],
    *,
    tables: tuple[NDArray, ...],
    powers: NDArray[np.uint32],
    num_features: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """`features.document_features`, and the number of features of each document in place of offsets.

    Args:
        library: The compiled loops.
        ids: Token ids of n documents one after the other, shape (sum of lengths,).
        lengths: Number of ids of each document, shape (n,).
        tables: Opens, closes, plural (bool), alone, share, letters (uint32) of V token ids, shape (V,).
        powers: Powers of the hash's base, uint32, one for each letter that counts.
        num_features: How many features there are.
    """
    ids, lengths = np.ascontiguousarray(ids, np.uint32), np.ascontiguousarray(lengths, np.int64)
    if lengths.sum() != len(ids) or lengths.min(initial=0) < 0:
        raise ValueError(f"{len(ids)} ids, but lengths that add up to {lengths.sum()}")
    seen = np.zeros(num_features, np.uint8)
    found = np.empty(2 * int(lengths.max(initial=0)), np.int32)
    kept = np.empty(2 * len(ids), np.int32)
    sizes = np.empty(len(lengths), np.int64)
    columns = [_start(array) for array in (*tables, powers, seen, found, kept, sizes)]
    total = library.dmix_document_features(
        _start(ids), _start(lengths), c_int64(len(lengths)), c_int64(len(tables[0])), *columns
    )
    return kept[:total], sizes


def compiled_row_sums(
    library: ctypes.CDLL, features: NDArray[np.int32], ends: NDArray[np.int32], table: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Sums of table rows, row after row: sum n is of the rows `features[ends[n]:ends[n + 1]]`.

    Args:
        library: The compiled loops.
        features: Numbers of rows, all below `len(table)`, flat.
        ends: Where each of n documents begins in `features`, and the end of the last, shape (n + 1,).
        table: float32, shape (rows, columns), columns a multiple of 16.

    Returns:
        float32, shape (n, columns).
    """
    sums = np.empty((len(ends) - 1, table.shape[1]), np.float32)
    flat, bounds = (np.ascontiguousarray(array, np.int32) for array in (features, ends))
    if len(flat) and not 0 <= flat.min() <= flat.max() < len(table):
        raise ValueError(f"features from {flat.min()} to {flat.max()}, but {len(table)} rows")
    library.dmix_row_sums(
        _start(flat),
        _start(bounds),
        c_int64(len(sums)),
        _start(table),
        c_int64(table.shape[1]),
        _start(sums),
    )
    return sums


def _start(array: NDArray) -> c_void_p:
    """Where the numbers of a contiguous array begin."""
    return array.ctypes.data_as(c_void_p)
