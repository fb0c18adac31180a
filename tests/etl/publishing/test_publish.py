"""A shard input is done once its record is there and its files are whole."""

import json

import pytest

from dmix.etl.publishing.publish import (
    STAGING,
    ShardInputRecord,
    attempt_folder,
    publish_files,
    read_record,
    recorded,
    records_folder,
    write_record,
)
from dmix.warehouse_schema.files.manifests import StreamFile

FILE = StreamFile(name="shard.00000.mds", size_bytes=3, sha256="s", samples=1)
RECORD = ShardInputRecord(fingerprint="f1", documents=2, tokens=9, tail=b"\x00\xff", files=(FILE,))


@pytest.fixture
def published(tmp_path):
    """A dataset's folder in which one shard input is done."""
    with attempt_folder(tmp_path) as attempt:
        (attempt / FILE.name).write_bytes(b"abc")
        publish_files(attempt, [FILE], into=tmp_path / "stream")
    write_record(tmp_path, RECORD)
    return tmp_path


def test_a_record_comes_back_with_its_tail(published):
    assert read_record(published, "f1", stream=published / "stream") == RECORD
    assert recorded(published) == {"f1"}


def test_a_record_without_its_files_in_full_size_does_not_count(published):
    (published / "stream" / FILE.name).write_bytes(b"ab")
    assert read_record(published, "f1", stream=published / "stream") is None
    (published / "stream" / FILE.name).unlink()
    assert read_record(published, "f1", stream=published / "stream") is None


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"files": 3}', '{"files": [], "tail": ""}', '{"files": [{}]}']
)
def test_a_damaged_record_does_not_count(published, content):
    (records_folder(published) / "f1.json").write_text(content)
    assert read_record(published, "f1", stream=published / "stream") is None


def test_a_field_of_another_version_makes_a_record_that_does_not_count(published):
    path = records_folder(published) / "f1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    assert read_record(published, "f1", stream=published / "stream") is None


def test_nothing_is_recorded_where_nothing_was_done(tmp_path):
    assert recorded(tmp_path) == set() and read_record(tmp_path, "f1", stream=tmp_path) is None


def test_temporary_files_are_no_records(published):
    (records_folder(published) / ".f2.json").touch()
    assert recorded(published) == {"f1"}


def test_an_attempt_leaves_nothing_behind_also_when_it_fails(tmp_path):
    with pytest.raises(RuntimeError, match="power cut"), attempt_folder(tmp_path) as attempt:
        (attempt / "half").touch()
        raise RuntimeError("power cut")
    assert list((tmp_path / STAGING / "attempts").iterdir()) == []


def test_no_files_make_no_folder(tmp_path):
    publish_files(tmp_path, [], into=tmp_path / "stream")
    assert not (tmp_path / "stream").exists()
