"""MDS shards as arrays of token rows: a batch is gathered in one go instead of sample by sample.

Streaming opens, seeks, reads and decodes for each sample. A shard whose only column is an array
of fixed type and length is one matrix after a short header, so it can be mapped into memory and
indexed. Format: uint32 number of samples, uint32 offsets (samples + 1 of them), the column
description as JSON, the samples (streaming/base/format/mds/writer.py).
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dmix.warehouse_schema.errors import VerificationError
from dmix.warehouse_schema.sizes import num_text

TOKEN_COLUMN = "tokens"

_WORD = np.dtype("<u4")


def token_layout(reader: Any) -> tuple[np.dtype, int] | None:
    """Type and length of the token rows of a shard; None if its layout is not one of fixed rows.

    Args:
        reader: A `streaming` MDSReader, as described by the index.
    """
    if reader.column_names != [TOKEN_COLUMN]:
        return None
    kind, *arguments = reader.column_encodings[0].split(":")
    if kind != "ndarray" or len(arguments) != 2 or "," in arguments[1] or not reader.column_sizes[0]:
        return None
    return np.dtype(arguments[0]).newbyteorder("<"), int(arguments[1])


def map_tokens(path: Path, *, samples: int, dtype: np.dtype, length: int) -> NDArray:
    """The token rows of a raw shard file, mapped read-only, shape (samples, length).

    Raises:
        FileNotFoundError: If the shard is not there (not downloaded yet, or evicted).
        VerificationError: If the file is not what the index says.
    """
    with open(path, "rb") as file:
        head = np.frombuffer(file.read(2 * _WORD.itemsize), _WORD)
        file.seek((1 + samples) * _WORD.itemsize)
        end = np.frombuffer(file.read(_WORD.itemsize), _WORD)
        size_bytes = file.seek(0, 2)
    row_bytes = length * dtype.itemsize
    whole = len(head) == 2 and len(end) == 1 and head[0] == samples and end[0] == size_bytes
    if not whole or end[0] - head[1] != samples * row_bytes:
        raise VerificationError(
            f"{path} ({num_text(size_bytes, 'byte')}) is too small for {num_text(samples, 'sample')} of "
            f"{num_text(row_bytes, 'byte')}, as its index says; run 'dmix etl verify' and make the dataset "
            "again, or empty the cache folder"
        )
    mapped = np.memmap(path, dtype, mode="r", offset=int(head[1]), shape=(samples, length))
    return mapped.view(np.ndarray)  # the class of maps makes taking a row several times slower
