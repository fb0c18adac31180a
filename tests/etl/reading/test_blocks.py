"""Bytes that inflate a thousandfold stay small in memory, and damage takes along what it always did."""

import bz2
import gzip
import os

import pytest
import zstandard

from dmix.etl.reading.blocks import BrokenInputError, decompressed
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import Columns, read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter

PACK = {"gzip": gzip.compress, "bz2": bz2.compress, "zstd": zstandard.ZstdCompressor().compress}
SUFFIXES = {"gzip": "gz", "bz2": "bz2", "zstd": "zst"}
MB = 1 << 20


@pytest.mark.parametrize(
    ("compression", "size_bytes"), [("gzip", 64 * MB), ("bz2", 64 * MB), ("zstd", 160 * MB)]
)
def test_a_bomb_comes_in_blocks_of_bounded_size(compression, size_bytes):
    bomb = PACK[compression](bytes(size_bytes))
    assert len(bomb) < size_bytes // 900
    sizes = [len(block) for block in decompressed([bomb], compression)]
    assert sum(sizes) == size_bytes
    assert max(sizes) <= 48 * MB


@pytest.mark.parametrize("compression", ["gzip", "bz2", "zstd"])
def test_a_bomb_is_one_reject_and_its_neighbours_are_read(tmp_path, compression):
    content = b'{"text": "a"}\n' + b" " * (32 * MB) + b'\n{"text": "b"}\n'
    path = tmp_path / f"a.jsonl.{SUFFIXES[compression]}"
    path.write_bytes(PACK[compression](content))
    source = inspect_file(find_files([str(path)]).files[0], columns=())
    columns = Columns(text="text", id=None, others=())
    found = list(read_documents(source, columns=columns, max_document_bytes=1000, meter=Meter(None)))
    assert [getattr(entry, "reason", None) for entry in found] == [None, "too_long", None]


@pytest.mark.parametrize("compression", ["gzip", "bz2", "zstd"])
def test_streams_one_after_the_other_are_read_however_the_blocks_are_cut(compression):
    texts = [os.urandom(40_000), b"", b"short", os.urandom(3_000)]
    stored = b"".join(map(PACK[compression], texts)) + bytes(100)  # padded
    for size in (1, 1000, len(stored)):
        blocks = [stored[i : i + size] for i in range(0, len(stored), size)]
        assert b"".join(decompressed(blocks, compression)) == b"".join(texts)


@pytest.mark.parametrize("compression", ["gzip", "bz2", "zstd"])
def test_a_cut_stream_is_named_after_what_stands_before_the_cut(compression):
    stored = PACK[compression](b"first") + PACK[compression](os.urandom(1000))[:-9]
    found = []
    with pytest.raises(BrokenInputError, match="truncated_input"):
        found.extend(decompressed([stored], compression))
    assert found[0] == b"first"
