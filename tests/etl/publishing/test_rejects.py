"""Rejects on disk: every one has its row, and no reject leaves no file."""

import pyarrow.parquet as pq
import pytest

from dmix.etl.publishing import rejects
from dmix.etl.publishing.rejects import PREFIX_CHARACTERS, REASONS, Reject, RejectWriter, prefix_of


def test_nothing_rejected_leaves_nothing(tmp_path):
    writer = RejectWriter(tmp_path)
    assert writer.close() == () and not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_memory", [1, 2, 100])
def test_rows_keep_their_order_however_many_are_held(tmp_path, monkeypatch, in_memory):
    monkeypatch.setattr(rejects, "_ROWS_IN_MEMORY", in_memory)
    writer = RejectWriter(tmp_path)
    rows = [Reject("a.jsonl", n, "empty_text" if n % 2 else "too_long", f"d{n}", "…") for n in range(1, 6)]
    for row in rows:
        writer.add(row)
    (file,) = writer.close()
    path = tmp_path / file.name
    assert (file.size_bytes, len(file.sha256)) == (path.stat().st_size, 64)
    assert [Reject(**row) for row in pq.read_table(path).to_pylist()] == rows
    assert writer.counts == {"empty_text": 3, "too_long": 2}


def test_a_reason_that_nobody_explains_is_a_defect(tmp_path):
    with pytest.raises(AssertionError):
        RejectWriter(tmp_path).add(Reject("a", 1, "mood", "", ""))
    assert all(text and text == text.strip() for text in REASONS.values())


@pytest.mark.parametrize("content", [b"abc", b"\xff\xfe", "ä".encode() * 1000, b"x" * 10_000, b""])
def test_the_beginning_of_bytes_is_text_of_bounded_length(content):
    found = prefix_of(content)
    assert len(found) <= PREFIX_CHARACTERS
    found.encode()
    if content.isascii():
        assert found == content[:PREFIX_CHARACTERS].decode()
