"""Bytes that inflate a thousandfold stay small in memory, and damage takes along what it always did."""

import bz2
import gzip
import os
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dmix.etl.reading.blocks import BrokenInputError, LongLine, decompressed, lines_of
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import read_documents
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


@settings(deadline=None)
@given(
    content=st.lists(st.sampled_from([b"a", b"\n", b"bc", b"dddddddd"]), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(1, 5), max_size=40),
)
def test_lines_do_not_depend_on_blocks(content, cuts):
    blocks, start = [], 0
    for cut in [*cuts, len(content)]:
        blocks.append(content[start : start + cut])
        start += cut
    wanted = content.split(b"\n")
    if not wanted[-1]:
        wanted.pop()
    lines = list(lines_of(iter(blocks), max_bytes=6))
    assert [len(line) if isinstance(line, bytes) else line.size_bytes for line in lines] == [
        len(line) for line in wanted
    ]
    for line, whole in zip(lines, wanted, strict=True):
        assert line == whole if len(whole) <= 6 else isinstance(line, LongLine)


def test_long_line_is_not_held():
    produced = 0

    def blocks():
        nonlocal produced
        for _ in range(1000):
            produced += 1 << 16
            yield b"x" * (1 << 16)
        yield b"\nshort"

    tracemalloc.start()
    lines = list(lines_of(blocks(), max_bytes=1 << 20))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert lines[0].size_bytes == produced == 1000 << 16
    assert lines[0].prefix.startswith(b"xxx")
    assert lines[1] == b"short"
    assert peak_bytes < 6 << 20
