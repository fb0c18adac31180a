"""What was found in inputs before, and when it is not trusted."""

import os
import time

import pytest
from tests.etl.mixed_inputs import mixed_inputs

from dmix.etl.reading.input_records import InputRecords
from dmix.etl.reading.inspection import inspect_and_cut
from dmix.etl.reading.sources import find_files

raw = pytest.fixture(mixed_inputs)


@pytest.fixture
def records(tmp_path, raw, monkeypatch):
    """Makes the records of the inputs of `raw`; files count as settled at once."""
    monkeypatch.setattr("dmix.etl.reading.input_records.SETTLED_SECONDS", 0)
    time.sleep(0.01)

    def make(columns=("text",), piece_bytes=1_500):
        return InputRecords(
            tmp_path / "records.json", columns=columns, piece_bytes=piece_bytes, part_bytes=2_000
        )

    found = find_files([str(raw)]).files
    inspections = [inspect_and_cut(file, columns=("text",), piece_bytes=1_500) for file in found]
    make().keep(zip(found, inspections, strict=True))
    return make


def known(records, raw):
    return [file.name for file in find_files([str(raw)]).files if records.known(file) is not None]


def test_unchanged_files_are_known_with_hash_and_pieces(records, raw):
    for file in find_files([str(raw)]).files:
        assert records().known(file) == inspect_and_cut(file, columns=("text",), piece_bytes=1_500)


def test_other_columns_or_sizes_of_pieces_know_nothing(records, raw):
    assert known(records(columns=("text", "topic")), raw) == []
    assert known(records(piece_bytes=9), raw) == []


def test_file_that_changed_or_was_replaced_is_not_known(records, raw, tmp_path):
    content, stat = (raw / "a.jsonl").read_bytes(), (raw / "a.jsonl").stat()
    (raw / "a.jsonl").write_bytes(content.replace(b"document 1", b"dOcument 1", 1))
    os.utime(raw / "a.jsonl", ns=(stat.st_atime_ns, stat.st_mtime_ns))  # size and mtime as before
    copy = tmp_path / "copy"
    copy.write_bytes((raw / "d.jsonl").read_bytes())
    copy.rename(raw / "d.jsonl")
    assert known(records(), raw) == ["b.jsonl.gz", "c.parquet", "e.jsonl"]


def test_file_that_was_written_just_now_is_not_trusted(records, raw, monkeypatch):
    monkeypatch.setattr("dmix.etl.reading.input_records.SETTLED_SECONDS", 10)
    found = find_files([str(raw)]).files
    inspections = [inspect_and_cut(file, columns=("text",), piece_bytes=1_500) for file in found]
    records().keep(zip(found, inspections, strict=True))
    assert known(records(), raw) == []
