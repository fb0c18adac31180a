"""One reading says whether a file is what its ending says, and which columns it lacks."""

import bz2
import gzip
import hashlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dmix.etl.reading.inspection import check_id_type, hashed, inspect_and_cut, inspect_file
from dmix.etl.reading.sources import find_files
from dmix.etl.templates.alternatives import Alternatives
from dmix.warehouse_schema.errors import InputError

LINES = b'{"text": "a"}\n' * 50


def found(path):
    return find_files([str(path)]).files[0]


def test_the_hash_is_of_the_stored_bytes(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES, mtime=0))
    source = inspect_file(found(path), columns=())
    assert source == hashed(found(path))
    assert source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (source.format, source.compression, source.size_bytes) == ("jsonl", "gzip", path.stat().st_size)


@pytest.mark.parametrize(
    ("content", "detected"),
    [
        (gzip.compress(LINES, mtime=0), "gzip data; rename it to .*a.jsonl.gz"),
        (bz2.compress(LINES), "bz2 data; rename it to .*a.jsonl.bz2"),
        (zstandard.compress(LINES), "zstd data; rename it to .*a.jsonl.zst"),
        (b"\x50\x2a\x4d\x18" + zstandard.compress(LINES), "zstd data"),
        (b"PK\x03\x04" + LINES, "zip data"),
        (b"PAR1" + LINES + b"PAR1", "parquet data"),
    ],
)
def test_bytes_of_another_format_than_the_ending_are_refused(tmp_path, content, detected):
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=detected):
        inspect_file(found(tmp_path / "a.jsonl"), columns=())


@pytest.mark.parametrize("text", [b"BZh is how bzip2 starts\n", b"PAR1 is a word\n", b"", b"PK"])
def test_letters_of_a_magic_are_text(tmp_path, text):
    (tmp_path / "a.txt").write_bytes(text)
    assert inspect_file(found(tmp_path / "a.txt"), columns=()).size_bytes == len(text)


def test_a_name_of_a_compressed_file_needs_its_bytes(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(LINES)
    with pytest.raises(InputError, match=r"a\.jsonl\.gz .*gzip file.*correct its name"):
        inspect_file(found(tmp_path / "a.jsonl.gz"), columns=())
    (tmp_path / "a.jsonl.gz").write_bytes(b"\x1f")  # cut off inside its magic: a reject says so later
    assert inspect_file(found(tmp_path / "a.jsonl.gz"), columns=()).size_bytes == 1


def test_pieces_of_lines_follow_each_other_without_a_gap(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    pieces = inspect_and_cut(found(tmp_path / "a.jsonl"), columns=(), piece_bytes=100).pieces
    assert len(pieces) > 1 and (pieces[0].start, pieces[-1].stop) == (0, len(LINES))
    assert [piece.start for piece in pieces[1:]] == [piece.stop for piece in pieces[:-1]]
    assert inspect_and_cut(found(tmp_path / "a.jsonl"), columns=(), piece_bytes=None).pieces == ()


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return found(path)


@pytest.mark.parametrize(
    ("columns", "shapes", "said"),
    [
        (("origin",), (), "has no column 'origin' .*--id-column or column:NAME"),
        ((), (("text",),), "'text'.* body, prompt, response.*--template instruction"),
        ((), (("text",), ("a", "b")), "text or a and b"),
    ],
)
def test_a_parquet_file_without_what_is_read_names_what_it_has(tmp_path, columns, shapes, said):
    file = parquet(tmp_path / "a.parquet", body=["x"], prompt=["y"], response=["z"])
    with pytest.raises(InputError, match=said):
        inspect_file(file, columns=columns, shapes=shapes)


def test_a_parquet_file_with_text_under_another_name_gets_the_template_that_reads_both(tmp_path):
    file = parquet(tmp_path / "a.parquet", content=["x"])
    with pytest.raises(InputError, match="--template first:text,content"):
        inspect_file(file, columns=(), shapes=(("text",),), read=Alternatives(None, ("text",)))
    with pytest.raises(InputError, match="--template chat,first:content"):
        inspect_file(file, columns=(), shapes=(("messages",),), read=Alternatives("chat"))
    assert inspect_file(file, columns=(), shapes=(("text",), ("content",))).format == "parquet"


def test_one_shape_of_columns_is_enough(tmp_path):
    file = parquet(tmp_path / "a.parquet", a=["x"], b=["y"])
    assert inspect_file(file, columns=("a",), shapes=(("text",), ("a", "b"))).format == "parquet"


def test_ids_of_a_type_without_exact_text_are_refused(tmp_path):
    file = parquet(tmp_path / "a.parquet", text=["x"], id=[[1]])
    with pytest.raises(InputError, match="id"):
        check_id_type(file, "id")
    check_id_type(file, "text")
    check_id_type(file, "absent")
    (tmp_path / "b.jsonl").write_bytes(LINES)
    check_id_type(found(tmp_path / "b.jsonl"), "id")


def test_a_damaged_parquet_file_is_left_to_reading(tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut")
    file = found(tmp_path / "a.parquet")
    check_id_type(file, "id")
    assert inspect_and_cut(file, columns=("x",), piece_bytes=10).pieces == ()
