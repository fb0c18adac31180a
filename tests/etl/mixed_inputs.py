"""Inputs of several kinds and sizes."""

import os

import pyarrow as pa
import pyarrow.parquet as pq
from tests.etl.classify.test_classify import documents, write_jsonl


def mixed_inputs(tmp_path):
    """Three large inputs, each of another kind, and two small ones: 470 documents.

    The body of the fixture `raw`.
    """
    folder = tmp_path / "raw"
    write_jsonl(folder / "a.jsonl", documents(0, 150))
    write_jsonl(folder / "b.jsonl.gz", [{**d, "salt": os.urandom(9).hex()} for d in documents(150, 150)])
    pq.write_table(pa.Table.from_pylist(documents(300, 150)), folder / "c.parquet", row_group_size=20)
    write_jsonl(folder / "d.jsonl", documents(450, 10))
    write_jsonl(folder / "e.jsonl", documents(460, 10))
    return folder
