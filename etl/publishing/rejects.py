"""Rejected documents, with reason and position. Every document that dmix drops has a row here.

`REASONS` lists all reasons. Reading decides them (`etl/reading/documents.py`,
`etl/templates/conversations.py`), and so does classifying, where no label is found
(`etl/classify/label_tasks.py`).
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
    "invalid_utf8": "the bytes are not UTF-8, or the text holds half a surrogate pair",
    "not_an_object": "the line is JSON, but not an object with columns",
    "missing_text": "the document has no column of text or messages that is asked for, or null in it",
    "text_not_string": "the column or message holds something else than text",
    "empty_text": "the text, or a message of it, is empty or white space",
    "not_messages": "the column holds no list of messages, each with a role",
    "special_token": "a message holds a special token of the chat template, such as the end of a turn",
    "template_failed": "the chat template refuses the messages, or takes too much time or memory",
    "unknown_role": "a message has a role that is none of system, user, assistant and tool",
    "too_long": "the document is longer than --max-document-bytes as it is stored",
    "truncated_input": "the file ends too early here; documents before this place were taken",
    "damaged_input": "the file cannot be decoded from here on; documents before this place were taken",
    "ambiguous_columns": "the file has two columns of one name that is read; none of its rows was taken",
    "id_not_text": "the column that --id-column names holds neither text nor a number",
    "worker_died": "the process that read the input ended each time, also with this input alone",
    "missing_label": "the document has no label in the column that column:NAME names",
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
