"""Exact duplicates: digests of normal forms, and the first copy kept."""

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.publishing.shard_inputs import RowRange
from dmix.etl.screening import duplicates as duplicates_module
from dmix.etl.screening.duplicates import text_digests
from dmix.etl.screening.screening import ScreenedFile


def test_digests_of_texts_follow_the_words_alone():
    digests = [tuple(row) for row in text_digests(["A b!", "a  B", "ab", "", "...", "..."]).tolist()]
    assert digests[0] == digests[1]
    assert digests[4] == digests[5]
    assert len(set(digests)) == 4


def test_no_text_has_no_digest():
    assert text_digests([]).shape == (0, 2)


def test_copies_of_many_batches_go_to_the_file_of_each(tmp_path):
    rows = [(0, 3), (0, 5), (2, 0), (2, 1), (2, 7)]
    span = RowRange(path="", sha256="", start=0, stop=8, text_bytes=0)
    files = [
        ScreenedFile(corpus="main", name=name, rows=span, domains=(("Games", 5), ("News", 3)))
        for name in "abc"
    ]

    def batch(part):
        columns = {"file": [file for file, _ in part], "row": [row for _, row in part]}
        return pa.RecordBatch.from_pydict(columns, schema=pa.schema({"file": pa.int64(), "row": pa.int64()}))

    batches = [batch(rows[:1]), batch(rows[1:4]), batch([]), batch(rows[4:])]
    told = [one.to_pydict() for one in duplicates_module._write_copies(iter(batches), files, tmp_path)]
    assert told == [{"file": [0], "found": [2]}, {"file": [2], "found": [3]}]
    assert pq.read_table(tmp_path / "a.parquet").to_pydict() == {"row": [3, 5], "domain": ["Games", "News"]}
    assert pq.read_table(tmp_path / "c.parquet").to_pydict() == {
        "row": [0, 1, 7],
        "domain": ["Games", "Games", "News"],
    }
