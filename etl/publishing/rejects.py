"""Rejected documents, with reason and position. Every document that dmix drops has a row here.

`REASONS` lists all reasons. Who decides: `etl/reading/records.py` and `documents.py` for a record,
`blocks.py`, `parquet.py` and `parquet_pages.py` there for a damaged file, `etl/templates/` for messages,
and `etl/classify/label_tasks.py` for labels and for files that kill a worker.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.publishing.labels import seal
from dmix.warehouse_schema.files.manifests import LabelFile

REASONS = {
    "malformed_json": "the line is not JSON",
    "invalid_utf8": "the bytes are not UTF-8, or the text contains half a surrogate pair",
    "not_an_object": "the line is JSON, but not an object with columns",
    "missing_text": "the column for the text or the messages is missing or null",
    "text_not_string": "the value of the column or message is not text, but another type",
    "empty_text": "the text or one of its messages is empty or only white space",
    "not_messages": "the column does not contain a list of messages with roles",
    "special_token": "a message contains a special token of the chat template, such as the end of a turn",
    "template_failed": "the chat template refuses the messages, or needs too much time or memory",
    "unknown_role": "the role of a message is not system, user, assistant or tool",
    "too_long": "the stored document is longer than --max-document-bytes",
    "truncated_input": "the file ends too early here; dmix read the documents before this place",
    "damaged_input": "dmix cannot decode the file from here on; dmix read the documents before this place",
    "ambiguous_columns": "two columns of the file have the same name; dmix read no row",
    "id_not_text": "the column of --id-column contains neither text nor a number",
    "worker_died": "each process that read this input crashed, even when it read no other input",
    "missing_label": "the document has no label in the column of column:NAME",
    "unknown_label": "the label is not in the taxonomy",
}

SCHEMA = pa.schema(
    {
        "path": pa.string(),
        "position": pa.int64(),
        "reason": pa.string(),
        "detail": pa.string(),
        "prefix": pa.string(),
    }
)

PREFIX_CHARACTERS = 200
_ROWS_IN_MEMORY = 20_000


class Reject(NamedTuple):
    """A document that was not taken, or the break after which no more could be read.

    Attributes:
        path: Name of the input.
        position: As that of a document: line, row, or 1 for a text file.
        reason: A key of `REASONS`.
        detail: What was seen.
        prefix: The beginning of the document as it is stored.
    """

    path: str
    position: int
    reason: str
    detail: str
    prefix: str


def prefix_of(content: bytes | bytearray | memoryview) -> str:
    """The beginning of stored bytes as text that every tool can show."""
    return bytes(content[: 4 * PREFIX_CHARACTERS]).decode("utf-8", "replace")[:PREFIX_CHARACTERS]


class RejectWriter:
    """Writes rejects to `rejects.parquet` in a folder, some thousand at a time.

    Args:
        folder: An existing folder; nothing is written to it while there is no reject.
    """

    NAME = "rejects.parquet"

    def __init__(self, folder: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._path = folder / self.NAME
        self._rows: list[Reject] = []
        self._writer: pq.ParquetWriter | None = None

    def add(self, reject: Reject) -> None:
        assert reject.reason in REASONS, reject.reason
        self.counts[reject.reason] += 1
        self._rows.append(reject)
        if len(self._rows) >= _ROWS_IN_MEMORY:
            self._flush()

    def close(self) -> tuple[LabelFile, ...]:
        """Finishes the file; empty if there was no reject."""
        self._flush()
        if self._writer is None:
            return ()
        self._writer.close()
        size_bytes, sha256 = seal(self._path)
        return (LabelFile(name=self.NAME, sha256=sha256, size_bytes=size_bytes, domains=()),)

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._path, SCHEMA, compression="zstd", use_dictionary=["path", "reason"]
            )
        columns = [
            pa.array(values, type=field.type)
            for field, values in zip(SCHEMA, zip(*self._rows, strict=True), strict=True)
        ]
        self._writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))
        self._rows.clear()
