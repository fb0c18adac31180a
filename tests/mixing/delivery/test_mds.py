"""Shards as arrays of token rows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dmix.mixing.delivery.dataset import MixedDataset
from dmix.mixing.delivery.mds import map_tokens, token_layout
from dmix.warehouse_schema.errors import VerificationError


def test_mapped_rows_equal_what_streaming_decodes(dataset: MixedDataset) -> None:
    reader = dataset._streaming.shards[0]
    path = Path(reader.dirname, reader.raw_data.basename)
    mapped = map_tokens(path, samples=len(reader), dtype=np.dtype("<u2"), length=8)
    assert np.array_equal(mapped, np.stack([reader[i]["tokens"] for i in range(len(reader))]))


@pytest.mark.parametrize(
    ("columns", "encoding", "sizes", "layout"),
    [
        (["tokens"], "ndarray:uint16:8", [16], (np.dtype("<u2"), 8)),
        (["tokens"], "ndarray:int32:4", [16], (np.dtype("<i4"), 4)),
        (["tokens"], "ndarray:uint16", [None], None),
        (["tokens"], "ndarray:uint16:2,4", [16], None),
        (["tokens"], "pkl", [None], None),
        (["tokens"], "ndarray:uint16:8", [None], None),
        (["text"], "ndarray:uint16:8", [16], None),
        (["tokens", "text"], "ndarray:uint16:8", [16, None], None),
    ],
)
def test_only_rows_of_one_type_and_length_have_a_layout(
    columns: list[str], encoding: str, sizes: list[int | None], layout: Any
) -> None:
    reader = SimpleNamespace(column_names=columns, column_encodings=[encoding], column_sizes=sizes)
    assert token_layout(reader) == layout


def shard(rows: np.ndarray, *, head: bytes = b"{}") -> bytes:
    """A shard as MDSWriter lays it out."""
    first = 4 * (2 + len(rows)) + len(head)
    ends = first + rows[0].nbytes * np.arange(len(rows) + 1)
    return np.array([len(rows), *ends], "<u4").tobytes() + head + rows.tobytes()


ROWS = np.arange(12, dtype="<u2").reshape(3, 4)


def test_a_shard_is_mapped_behind_its_head(tmp_path: Path) -> None:
    path = tmp_path / "shard.mds"
    path.write_bytes(shard(ROWS))
    mapped = map_tokens(path, samples=3, dtype=np.dtype("<u2"), length=4)
    assert np.array_equal(mapped, ROWS) and not mapped.flags.writeable


@pytest.mark.parametrize(
    ("content", "samples"),
    [
        (shard(ROWS)[:-1], 3),
        (shard(ROWS) + b"x", 3),
        (shard(ROWS), 2),
        (shard(ROWS), 4),
        (shard(ROWS.astype("<u4")), 3),
        (b"", 3),
        (shard(ROWS)[:9], 3),
    ],
)
def test_a_file_that_is_not_what_its_index_says_is_refused(
    tmp_path: Path, content: bytes, samples: int
) -> None:
    path = tmp_path / "shard.mds"
    path.write_bytes(content)
    with pytest.raises(VerificationError, match=r"shard\.mds \(\d+ bytes\) is too small"):
        map_tokens(path, samples=samples, dtype=np.dtype("<u2"), length=4)
