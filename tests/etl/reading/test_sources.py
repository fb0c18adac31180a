import bz2
import gzip
import hashlib
import shlex

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.sources import FoundFile, conversion, file_kind, find_files
from dmix.warehouse_schema.errors import InputError, NotFoundError

LINE = b'{"text": "a document"}\n'
XZ = b"\xfd7zXZ\x00\x00\x04"
LZ4 = b"\x04\x22\x4d\x18\x64\x40\xa7"


@pytest.fixture
def folder(tmp_path):
    """Three files that are read, one below another folder, among some that are not."""
    root = tmp_path / "data"
    for name, content in {
        "b.jsonl": LINE,
        "a.jsonl.gz": gzip.compress(LINE),
        "deep/er/c.TXT": b"text",
        ".hidden.jsonl": LINE,
        ".git/d.jsonl": LINE,
        "_SUCCESS": b"",
        "table.csv": b"a,b\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def names(found):
    return [file.name for file in found.files]


def inspected(path, shapes=()):
    return inspect_file(find_files([str(path)]).files[0], columns=(), shapes=shapes)


def test_folder_gives_known_files_by_their_name_below_it_and_counts_the_others(folder):
    found = find_files([str(folder)])
    assert names(found) == ["a.jsonl.gz", "b.jsonl", "deep/er/c.TXT"]
    assert found.skipped == {".csv": 1, "_SUCCESS": 1, ".*.jsonl (hidden)": 1, ".git/ (hidden)": 1}
    first = found.files[0]
    assert (first.format, first.compression) == ("jsonl", "gzip")
    assert first.size_bytes == len(gzip.compress(LINE))


def test_file_is_named_by_its_last_part(folder):
    assert names(find_files([str(folder / "deep/er/c.TXT")])) == ["c.TXT"]


def test_glob_names_are_relative_to_its_fixed_part(folder):
    assert names(find_files([f"{folder}/*/er/*.TXT"])) == ["deep/er/c.TXT"]
    assert names(find_files([f"{folder}/**/*.jsonl*"])) == ["a.jsonl.gz", "b.jsonl"]


def test_file_that_is_reached_twice_counts_once(folder):
    assert names(find_files([str(folder), f"{folder}/b.jsonl", f"{folder}/../data/b.jsonl"])) == [
        "a.jsonl.gz",
        "b.jsonl",
        "deep/er/c.TXT",
    ]


def test_equal_names_get_as_much_of_their_path_as_tells_them_apart(tmp_path):
    for name in ("x/en/part.jsonl", "y/en/part.jsonl", "y/en/other.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(LINE)
    found = find_files([str(tmp_path / "x/en"), str(tmp_path / "y/en")])
    assert names(found) == ["other.jsonl", "x/en/part.jsonl", "y/en/part.jsonl"]


def test_new_file_does_not_take_the_name_of_an_old_one(folder):
    found = find_files([str(folder / "b.jsonl")], taken={"b.jsonl": "/elsewhere/b.jsonl"})
    assert names(found) == ["data/b.jsonl"]


def test_warehouse_among_the_inputs_is_left_out(folder):
    (folder / "warehouse").mkdir()
    (folder / "warehouse" / "labels.parquet").write_bytes(b"")
    assert "warehouse/labels.parquet" not in names(find_files([str(folder)], not_below=folder / "warehouse"))
    assert "warehouse/labels.parquet" in names(find_files([str(folder)]))


@pytest.mark.parametrize("pattern", ["nowhere", "nowhere/*.jsonl"])
def test_missing_path_is_not_found(tmp_path, pattern):
    with pytest.raises(NotFoundError, match="nowhere"):
        find_files([str(tmp_path / pattern)])


def test_a_link_to_a_device_is_no_file_and_not_broken(tmp_path):
    (tmp_path / "a.jsonl").symlink_to("/dev/null")
    with pytest.raises(InputError, match=r"a\.jsonl is neither a file nor a folder"):
        find_files([str(tmp_path / "a.jsonl")])


def test_folder_without_known_files_names_the_known_endings(tmp_path):
    (tmp_path / "a.csv").write_text("x")
    (tmp_path / "b.doc").write_text("x")
    with pytest.raises(InputError, match=r"only 2 other files \(1 \.csv, 1 \.doc\); .*FILE\.csv"):
        find_files([str(tmp_path)])
    for number in range(6):
        (tmp_path / f"c.{number}").write_text("x")
    with pytest.raises(InputError, match=r"only 8 other files \(.*, …\); known endings: .*\.parquet"):
        find_files([str(tmp_path)])


def test_named_file_with_an_unknown_ending_is_refused(folder):
    with pytest.raises(InputError, match=r"table\.csv has an ending that dmix does not read"):
        find_files([str(folder / "table.csv")])


@pytest.mark.parametrize("ending", ["jsonl.xz", "jsonl.lz4", "zip", "txt.br"])
def test_other_compressions_are_refused_in_folders_too(tmp_path, ending):
    (tmp_path / "good.jsonl").write_bytes(LINE)
    (tmp_path / f"bad.{ending}").write_bytes(b"x")
    with pytest.raises(InputError, match="compress it with 'zstd' or 'gzip'"):
        find_files([str(tmp_path)])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jsonl", ("jsonl", "none")),
        ("a.JSON.ZST", ("jsonl", "zstd")),
        ("a.ndjson.bz2", ("jsonl", "bz2")),
        ("a.md.gz", ("text", "gzip")),
        ("a.parquet", ("parquet", "none")),
        ("a.gz", None),
        ("a", None),
    ],
)
def test_kind_follows_from_the_ending(name, kind):
    assert file_kind(name) == kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", gzip.compress(LINE, mtime=0), "gzip data; rename it to .*a.jsonl.gz"),
        ("a.txt", zstandard.compress(LINE), "zstd data; rename it to .*a.txt.zst"),
        ("a.txt", bz2.compress(LINE), "bz2 data; rename it to .*a.txt.bz2"),
        ("a.jsonl", XZ, "xz data.*decompress it"),
        ("a.jsonl", LZ4, "lz4 data.*decompress it"),
        ("a.jsonl.gz", LINE, "ending of a gzip file, but contains another format"),
        ("a.jsonl.zst", gzip.compress(LINE, mtime=0), "ending of a zstd file, but contains gzip"),
        ("a.jsonl.gz", XZ, "ending of a gzip file, but contains xz"),
        ("a.parquet", LINE, "ending of a parquet file, but contains another format"),
        ("a.json", b'[\n{"text": "a"}]', "one JSON list, .*jq -c '.\\[\\]'"),
        ("a.json.gz", gzip.compress(b'\n{\n "text": 1}', mtime=0), "one JSON object over several lines"),
    ],
)
def test_content_that_does_not_fit_the_ending_is_refused_with_the_fix(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        inspected(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.jsonl", b""),
        ("empty.jsonl.gz", b""),
        ("cut.jsonl.gz", b"\x1f"),
        ("cut.jsonl.gz", gzip.compress(LINE, mtime=0)[:12]),
        ("a.jsonl.bz2", bz2.compress(LINE)),
        ("empty.txt.bz2", bz2.compress(b"")),
        ("skippable.jsonl.zst", b"\x50\x2a\x4d\x18\x01\x00\x00\x00x" + zstandard.compress(LINE)),
        ("a.txt", b"BZh is how this text starts"),
        ("a.txt", b"PAR1 is how this text starts"),
        ("a.json", LINE),
        ("a.jsonl", b"[1, 2]\n"),
    ],
)
def test_inspection_accepts_and_hashes(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = inspected(tmp_path / name)
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert found.size_bytes == len(content)


def test_parquet_without_the_text_column_names_the_columns_that_it_has(tmp_path):
    pq.write_table(pa.table({"content": ["a"], "url": ["b"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"no column 'text' \(its columns: content, url\).*--text-column"):
        inspected(tmp_path / "a.parquet", shapes=(("text",),))
    assert inspected(tmp_path / "a.parquet", shapes=(("content",),)).format == "parquet"


def test_vanished_file_is_not_found(tmp_path):
    path = str(tmp_path / "a.txt")
    gone = FoundFile(path=path, name="a.txt", size_bytes=1, format="text", compression="none")
    with pytest.raises(NotFoundError, match="vanished"):
        inspect_file(gone, columns=())


@pytest.mark.parametrize(("ending", "separator"), [(".csv", ","), (".tsv", "\t")])
def test_a_table_that_is_left_out_is_converted_by_the_command_that_is_said(
    tmp_path, monkeypatch, ending, separator
):
    assert conversion({".docx": 3}) == ""
    monkeypatch.chdir(tmp_path)
    (tmp_path / f"FILE{ending}").write_text(f"id{separator}text\n1{separator}a document\n")
    words = shlex.split(conversion({".docx": 3, ending: 1}).partition("convert it: ")[2])
    assert words[:2] == ["python", "-c"]
    exec(words[2])
    (row,) = pq.read_table(tmp_path / "FILE.parquet").to_pylist()
    assert row["text"] == "a document"
    assert [file.format for file in find_files([str(tmp_path)]).files] == ["parquet"]
