"""Pieces cover a large input once, in order and with exact positions, wherever its blocks end."""

import bz2
import dataclasses
import gzip
import itertools
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dmix.etl.reading import pieces
from dmix.etl.reading.documents import Columns, Document
from dmix.etl.reading.inspection import inspect_and_cut
from dmix.etl.reading.pieces import LineCutter, line_blocks, piece_bytes_of
from dmix.etl.reading.records import read_documents, read_piece
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError

COLUMNS = Columns(text="text", id=None, others=())
OPTIONS = {"columns": COLUMNS, "max_document_bytes": 400, "meter": Meter(None)}
COMPRESS = {
    "": bytes,
    ".gz": lambda content: gzip.compress(content, mtime=0),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


def inspected(path, piece_bytes=1000):
    return inspect_and_cut(find_files([str(path)]).files[0], columns=("text",), piece_bytes=piece_bytes)


def in_pieces(inspection):
    found = []
    for piece in inspection.pieces:
        found += read_piece(inspection.source, piece, **OPTIONS)
    return found


def awkward_lines():
    """Good, blank, broken, Windows and too long lines, without a line's end behind the last one."""
    lines = [json.dumps({"text": f"document {i} " * (i % 9 + 1)}).encode() for i in range(100)]
    lines[10], lines[20], lines[30], lines[40] = b"", b"nonsense", lines[30] + b"\r", b'"' + b"x" * 3000
    return b"\xef\xbb\xbf" + b"\n".join(lines)


@given(st.binary(max_size=300).map(lambda b: b.replace(b"a", b"\n")), st.integers(1, 40), st.integers(1, 50))
def test_pieces_of_lines_tile_the_input_and_do_not_depend_on_blocks(content, piece_bytes, block_bytes):
    cutter = LineCutter(piece_bytes)
    for start in range(0, len(content), block_bytes):
        cutter.feed(content[start : start + block_bytes])
    whole = LineCutter(piece_bytes)
    if content:
        whole.feed(content)
    found = cutter.finish()
    assert found == whole.finish()
    if not found:
        return
    assert (found[0].start, found[0].first, found[-1].stop) == (0, 1, len(content))
    for piece, following in itertools.pairwise(found):
        assert piece.stop == following.start
        assert content[piece.stop - 1 : piece.stop] == b"\n"
        assert piece.stop - piece.start >= piece_bytes
        assert following.first == content.count(b"\n", 0, piece.stop) + 1
    assert [(piece.index, piece.count) for piece in found] == [(i, len(found)) for i in range(len(found))]


@pytest.mark.parametrize("ending", COMPRESS)
def test_pieces_of_lines_read_like_the_whole(tmp_path, ending):
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](awkward_lines()))
    inspection = inspected(path)
    assert len(inspection.pieces) > 4
    found = in_pieces(inspection)
    assert found == list(read_documents(inspection.source, **OPTIONS))
    assert [entry.position for entry in found if not isinstance(entry, Document)] == [21, 41]


def test_pieces_of_a_compressed_stream_can_be_read_in_any_order(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(COMPRESS[".gz"](awkward_lines()))
    inspection = inspected(path)
    opened = []
    rewind = pieces._Stream._rewind
    monkeypatch.setattr(pieces._Stream, "_rewind", lambda self: (opened.append(1), rewind(self))[1])
    pieces._open.clear()
    expected = in_pieces(inspection)
    assert len(opened) == 1  # each piece goes on where the one before it ended
    backwards = [list(read_piece(inspection.source, piece, **OPTIONS)) for piece in inspection.pieces[::-1]]
    assert [entry for part in backwards[::-1] for entry in part] == expected


@pytest.mark.parametrize("damage", [lambda c: c[:-200], lambda c: c[:-300] + b"\0" * 300])
def test_break_in_a_compressed_stream_is_one_reject_of_its_last_piece(tmp_path, damage):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(damage(COMPRESS[".gz"](b"".join(b'{"text": "%032x"}\n' % (i**9) for i in range(2000)))))
    inspection = inspected(path)
    for _ in range(2):  # the break is there for every attempt
        found = in_pieces(inspection)
        assert found == list(read_documents(inspection.source, **OPTIONS))
        assert found[-1].reason in ("truncated_input", "damaged_input")


def test_row_groups_read_like_the_whole(tmp_path):
    path = tmp_path / "a.parquet"
    texts = [f"row {i}" * 20 if i % 7 else None for i in range(300)]
    table = pa.table({"text": texts, "n": list(range(300))})
    pq.write_table(table, path, row_group_size=25)
    inspection = inspected(path, piece_bytes=4000)
    assert [(p.start, p.stop, p.first) for p in inspection.pieces[:2]] == [(0, 2, 1), (2, 4, 51)]
    assert in_pieces(inspection) == list(read_documents(inspection.source, **OPTIONS))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_input_that_changed_since_it_was_cut_is_refused(tmp_path, name):
    path = tmp_path / name
    lines = [{"text": f"document {i}"} for i in range(200)]
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(lines), path, row_group_size=20, compression="none")
    else:
        path.write_bytes(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    inspection = inspected(path, piece_bytes=100)
    content = path.read_bytes()
    assert b"document 7" in content
    path.write_bytes(content.replace(b"document 7", b"dOcument 7", 1))
    with pytest.raises(InputError, match=r"changed while dmix read it"):
        in_pieces(inspection)


def test_small_files_texts_and_single_pieces_stay_whole(tmp_path):
    (tmp_path / "a.txt").write_text("one document " * 1000)
    (tmp_path / "b.jsonl").write_text('{"text": "x"}\n')
    pq.write_table(pa.table({"text": ["x" * 9000]}), tmp_path / "c.parquet")
    (tmp_path / "d.jsonl").write_bytes(b"")
    for name in ("a.txt", "b.jsonl", "c.parquet", "d.jsonl"):
        assert inspected(tmp_path / name).pieces == ()


def test_pieces_of_equal_length_leave_no_scrap():
    assert [piece_bytes_of(size, piece_bytes=100) for size in (50, 199, 200, 250, 1001)] == [
        50,
        199,
        100,
        125,
        101,
    ]


def test_last_bytes_of_a_piece_are_those_before_the_next(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(awkward_lines())
    inspection = inspected(path)
    stored = [b"".join(line_blocks(inspection.source, piece)) for piece in inspection.pieces]
    assert b"".join(stored) == path.read_bytes()
    moved = dataclasses.replace(inspection.source, path=str(tmp_path / "gone.jsonl"))
    with pytest.raises(InputError, match="disappeared; restore it"):
        list(line_blocks(moved, inspection.pieces[0]))
