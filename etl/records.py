"""Documents of one input file, in order, each with its position; what is none becomes a reject.

Positions are lines counted from 1 for JSON Lines (blank lines count, and are no documents), rows
from 1 for Parquet, and 1 for a text file. Memory: one block of lines or rows, and a small
multiple of the longest document, which `max_document_bytes` bounds as it is stored.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.blocks import BLOCK_BYTES, BrokenInputError, decompressed, file_blocks, reading
from dmix.etl.rejects import PREFIX_CHARACTERS, Reject, prefix_of
from dmix.etl.tasks import Meter
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.manifests import InputFile

DEFAULT_ID_COLUMN = "id"
_BOM = b"\xef\xbb\xbf"
_PARQUET_ROWS = 256


class Document(NamedTuple):
    """One document.

    Attributes:
        id: Its own, or a hash of input name and position.
        text: Not empty, encodable as UTF-8.
        size_bytes: UTF-8 bytes of the text.
        path: Name of the input.
        position: Place in the input, from 1.
        values: Raw values of `Columns.others`.
    """

    id: str
    text: str
    size_bytes: int
    path: str
    position: int
    values: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is read of a record.

    Attributes:
        text: Column of the text.
        id: Column of the id; None takes `id` where a document has one.
        others: Columns that the classifier looks at.
    """

    text: str
    id: str | None
    others: tuple[str, ...]

    @property
    def id_or_default(self) -> str:
        return self.id or DEFAULT_ID_COLUMN

    @property
    def required(self) -> tuple[str, ...]:
        """Columns without which a Parquet file makes no sense."""
        return (self.text, *((self.id,) if self.id else ()), *self.others)


def read_documents(
    source: InputFile, *, columns: Columns, max_document_bytes: int, meter: Meter
) -> Iterator[Document | Reject]:
    """Everything in an input, in order: each document, or why it is not one.

    Args:
        source: The input.
        columns: What is read of a record.
        max_document_bytes: Longest JSON line, text file or Parquet value that is taken.
        meter: Told of all stored bytes as they are read.

    Raises:
        NotFoundError: If the file vanished.
        InputError: If it may not be read, or is not the file any more that was hashed.
    """
    digest = sha256()
    if source.format == "parquet":
        yield from _from_parquet(source, columns, max_document_bytes, meter)
        stored = file_blocks(source.path, seen=digest.update)
    else:
        stored = file_blocks(source.path, seen=lambda block: (digest.update(block), meter.add(len(block))))
        blocks = decompressed(stored, source.compression)
        if source.format == "text":
            yield _from_text(source.name, blocks, columns, max_document_bytes)
        else:
            yield from _from_lines(source.name, blocks, columns, max_document_bytes)
    for _ in stored:  # what a break or the other way of reading left unread
        pass
    if digest.hexdigest() != source.sha256:
        raise InputError(
            f"input {source.path} changed while it was read; run the same command again once nothing"
            " writes to it"
        )


def document_id(value: object, path: str, position: int) -> str:
    """The id of a document: its own if that is text or a whole number, else a hash of its place."""
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return sha256(f"{path}\0{position}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def utf8_size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


class LongLine(NamedTuple):
    """A line that was too long to keep.

    Attributes:
        size_bytes: Its length.
        prefix: Its first bytes.
    """

    size_bytes: int
    prefix: bytes


def lines_of(blocks: Iterator[bytes], *, max_bytes: int) -> Iterator[bytes | LongLine]:
    """Lines without their `\\n`; the last one may lack it. Memory: one block and `max_bytes`.

    Raises:
        BrokenInputError: After the line that the break cuts, which comes last.
    """
    held, size_bytes = bytearray(), 0
    broken = None
    try:
        for block in blocks:
            *complete, rest = block.split(b"\n")
            for part in complete:
                if size_bytes:
                    size_bytes += len(part)
                    if size_bytes <= max_bytes:
                        held += part
                    yield _line(held, size_bytes, max_bytes)
                    held, size_bytes = bytearray(), 0
                else:
                    yield _line(part, len(part), max_bytes)
            size_bytes += len(rest)
            if size_bytes <= max_bytes:
                held += rest
            elif len(held) > PREFIX_CHARACTERS * 4:
                del held[PREFIX_CHARACTERS * 4 :]
            elif len(held) < PREFIX_CHARACTERS * 4:
                held += rest[: PREFIX_CHARACTERS * 4]
    except BrokenInputError as error:
        broken = error
    if size_bytes or broken:
        yield _line(held, size_bytes, max_bytes)
    if broken:
        raise broken


def _line(content: bytes | bytearray, size_bytes: int, max_bytes: int) -> bytes | LongLine:
    if size_bytes > max_bytes:
        return LongLine(size_bytes, bytes(content[: PREFIX_CHARACTERS * 4]))
    return bytes(content)


def _from_lines(
    name: str, blocks: Iterator[bytes], columns: Columns, max_bytes: int
) -> Iterator[Document | Reject]:
    position = 0
    line: bytes | LongLine = b""
    found: Document | Reject | None = None
    try:
        for line in lines_of(blocks, max_bytes=max_bytes):
            if found is not None:
                yield found
            position += 1
            found = _from_line(name, position, line, columns, max_bytes)
    except BrokenInputError as error:
        # what stands before the break is a document only if its object is closed
        if isinstance(found, Document):
            yield found
            position += 1
            line = b""
        prefix = prefix_of(line.prefix if isinstance(line, LongLine) else line)
        found = Reject(name, position, error.reason, error.detail, prefix)
    if found is not None:
        yield found


def _from_line(
    name: str, position: int, line: bytes | LongLine, columns: Columns, max_bytes: int
) -> Document | Reject | None:
    """The document of a line, or its reject; None for a blank line."""
    if isinstance(line, LongLine):
        return _too_long(name, position, line.size_bytes, max_bytes, prefix_of(line.prefix))
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if position == 1 and line.startswith(_BOM):
            return _from_line(name, 1, line.removeprefix(_BOM), columns, max_bytes)
        if not line.strip():
            return None
        record = _forgiving(line, str(error))
    if isinstance(record, _Refusal):
        return Reject(name, position, record.reason, record.detail, prefix_of(line))
    if not isinstance(record, dict):
        return Reject(name, position, "not_an_object", f"the line holds {_kind(record)}", prefix_of(line))
    text = record.get(columns.text)
    reason, detail = _why_not(text, columns.text)
    if reason is not None:
        return Reject(name, position, reason, detail, prefix_of(line))
    identifier = document_id(record.get(columns.id_or_default), name, position)
    values = tuple([record.get(other) for other in columns.others])
    return Document(identifier, text, utf8_size(text), name, position, values)


class _Refusal(NamedTuple):
    reason: str
    detail: str


def _forgiving(line: bytes, error: str) -> Any:
    """The value of a line that the fast parser refused, or why there is none.

    Python's parser takes what many writers make although it is not JSON: NaN and Infinity.
    """
    try:
        value = json.loads(line.decode())
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as wrong:
        return _Refusal("invalid_utf8", f"byte {wrong.start} of the line: {wrong.reason}")
    except UnicodeEncodeError:
        return _Refusal("invalid_utf8", "half a surrogate pair")
    except (ValueError, RecursionError):
        return _Refusal("malformed_json", error)
    return value


def _why_not(text: object, column: str) -> tuple[str | None, str]:
    """(reason, detail) why a value cannot be a text; (None, "") if it can."""
    if text is None:
        return "missing_text", f"no text in column {column!r}"
    if not isinstance(text, str):
        return "text_not_string", f"column {column!r} holds {_kind(text)}"
    if not text or text.isspace():
        return "empty_text", f"{len(text)} characters of white space"
    return None, ""


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _too_long(name: str, position: int, size_bytes: int, max_bytes: int, prefix: str) -> Reject:
    detail = f"{size_bytes} bytes, --max-document-bytes is {max_bytes}"
    return Reject(name, position, "too_long", detail, prefix)


def _from_text(name: str, blocks: Iterator[bytes], columns: Columns, max_bytes: int) -> Document | Reject:
    content, size_bytes = bytearray(), 0
    try:
        for block in blocks:
            size_bytes += len(block)
            if size_bytes <= max_bytes:
                content += block
            elif len(content) < PREFIX_CHARACTERS * 4:
                content += block[: PREFIX_CHARACTERS * 4]
    except BrokenInputError as error:
        return Reject(name, 1, error.reason, error.detail, prefix_of(content))
    if size_bytes > max_bytes:
        return _too_long(name, 1, size_bytes, max_bytes, prefix_of(content))
    return _from_value(name, 1, bytes(content).removeprefix(_BOM), columns, None, ())


def _from_value(
    name: str, position: int, stored: object, columns: Columns, id_value: object, values: tuple[object, ...]
) -> Document | Reject:
    """The document whose text is `stored`, UTF-8 bytes if it is text at all."""
    text = stored
    if isinstance(stored, bytes):
        try:
            text = stored.decode()
        except UnicodeDecodeError as error:
            detail = f"byte {error.start} of the text: {error.reason}"
            return Reject(name, position, "invalid_utf8", detail, prefix_of(stored))
    reason, detail = _why_not(text, columns.text)
    if reason is not None:
        prefix = prefix_of(stored) if isinstance(stored, bytes) else str(stored)[:PREFIX_CHARACTERS]
        return Reject(name, position, reason, detail, prefix)
    assert isinstance(text, str)
    identifier = document_id(id_value, name, position)
    return Document(identifier, text, utf8_size(text), name, position, values)


def _from_parquet(
    source: InputFile, columns: Columns, max_bytes: int, meter: Meter
) -> Iterator[Document | Reject]:
    position = 0
    try:
        with reading(source.path), open(source.path, "rb") as handle:
            # read in pieces: by default a whole column of a row group is in memory at once
            file = pq.ParquetFile(handle, buffer_size=BLOCK_BYTES, pre_buffer=False)
            names = set(file.schema_arrow.names)
            wanted = dict.fromkeys((columns.text, columns.id_or_default, *columns.others))
            present = [column for column in wanted if column in names]
            total_rows = max(1, file.metadata.num_rows)
            for batch in file.iter_batches(_PARQUET_ROWS, columns=present, use_threads=False):
                stored = {column: _stored(batch.column(column)) for column in present}
                nothing: list[object] = [None] * batch.num_rows
                texts = stored.get(columns.text, nothing)
                ids = _texts(stored.get(columns.id_or_default, nothing))
                others = [_texts(stored.get(column, nothing)) for column in columns.others]
                for row, text in enumerate(texts):
                    position += 1
                    if isinstance(text, bytes) and len(text) > max_bytes:
                        yield _too_long(source.name, position, len(text), max_bytes, prefix_of(text))
                        continue
                    values = tuple(column[row] for column in others)
                    yield _from_value(source.name, position, text, columns, ids[row], values)
                meter.add(source.size_bytes * batch.num_rows // total_rows)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        reason = "damaged_input" if position or "footer" not in str(error) else "truncated_input"
        yield Reject(source.name, position + 1, reason, str(error).splitlines()[0][:500], "")


def _stored(column: pa.Array) -> list[object]:
    """Values of a column; text as its stored bytes, since one that is no UTF-8 would spoil the rest."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        column = column.cast(pa.large_binary())
    values: list[object] = column.to_pylist()
    return values


def _texts(values: Sequence[object]) -> Sequence[object]:
    return [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
