"""Documents of one input file, in order, each with its position; what is none becomes a reject.

Positions are lines counted from 1 for JSON Lines (blank lines count, and are no documents), rows
from 1 for Parquet, and 1 for a text file; lines of a copy keep those of the original
(`dmix.etl.publishing.copied`). Memory: one block of lines or rows, and a small
multiple of the longest document, which `max_document_bytes` bounds as it is stored.
"""

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from dmix.etl.publishing.copied import origin_of, reject_of
from dmix.etl.publishing.rejects import PREFIX_CHARACTERS, Reject, prefix_of
from dmix.etl.reading.blocks import BrokenInputError, LongLine, decompressed, file_blocks, lines_of, reading
from dmix.etl.reading.documents import (
    Columns,
    Document,
    decoded_text,
    document_or_reject,
    encodes,
    templated_text,
    too_long,
)
from dmix.etl.reading.exact_ids import digits_of
from dmix.etl.reading.parquet import (
    batches,
    damage,
    id_of_value,
    is_text_column,
    open_parquet,
    row_count,
    top_level_names,
)
from dmix.etl.reading.pieces import line_blocks, stored_range
from dmix.etl.spark.tasks import Meter
from dmix.etl.templates.conversations import Refusal, Unreadable, kind_of, what_it_has
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import InputFile, Piece
from dmix.warehouse_schema.files.storage import open_place

_BOM = b"\xef\xbb\xbf"


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

        def seen(block: bytes) -> None:
            digest.update(block)
            meter.add(len(block))

        stored = file_blocks(source.path, seen=seen)
        blocks = decompressed(stored, source.compression)
        if source.format == "text":
            yield _from_text(source.name, blocks, columns, max_document_bytes)
        else:
            yield from _from_lines(source.name, blocks, columns, max_document_bytes)
    for _ in stored:  # what a break or the other way of reading left unread
        pass
    if digest.hexdigest() != source.sha256:
        raise _changed(source)


def read_piece(
    source: InputFile, piece: Piece, *, columns: Columns, max_document_bytes: int, meter: Meter
) -> Iterator[Document | Reject]:
    """As `read_documents`, for one piece of an input; the pieces one after the other give the same.

    A break in one piece of a Parquet file costs none of the others.

    Raises:
        NotFoundError: If the file vanished.
        InputError: If it may not be read, or is not the file any more that was cut.
    """
    crc32: int | None = 0
    if source.format == "parquet":
        yield from _from_parquet(source, columns, max_document_bytes, meter, piece=piece)
        crc32 = _stored_crc32(source, piece)
    else:

        def checked() -> Iterator[bytes]:
            nonlocal crc32
            for block in line_blocks(source, piece):
                crc32 = zlib.crc32(block, crc32 or 0)
                if source.compression == "none":
                    meter.add(len(block))
                yield block

        yield from _from_lines(source.name, checked(), columns, max_document_bytes, first=piece.first)
        if source.compression != "none":
            meter.add(source.size_bytes // piece.count)
    if crc32 != piece.crc32:
        raise _changed(source)


def _stored_crc32(source: InputFile, piece: Piece) -> int | None:
    """Checksum of the row groups of a piece as they are stored; None if they are not there any more."""
    try:
        with reading(source.path), open_place(source.path) as handle:
            file = open_parquet(handle, source.path)
            with damage():
                first, end = stored_range(file.metadata, piece.start, piece.stop)
    except BrokenInputError:
        return None
    crc32 = 0
    for block in file_blocks(source.path, start=first, stop=end) if first < end else ():
        crc32 = zlib.crc32(block, crc32)
    return crc32


def _changed(source: InputFile) -> InputError:
    return InputError(
        f"input {source.path} changed while dmix read it; wait until no program writes to it, then run "
        "the same command again"
    )


def _from_lines(
    name: str, blocks: Iterator[bytes], columns: Columns, max_bytes: int, *, first: int = 1
) -> Iterator[Document | Reject]:
    position = first - 1
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
        return Reject(name, position, *too_long(line.size_bytes, max_bytes), prefix_of(line.prefix))
    if not line or line.isspace():  # the parser's error for it costs a hundred times as much
        return None
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if position == 1 and line.startswith(_BOM):
            while line.startswith(_BOM):
                line = line[len(_BOM) :]
            return _from_line(name, 1, line, columns, max_bytes)
        record = _forgiving(line, columns, str(error))
    if isinstance(record, Refusal):
        return Reject(name, position, record.reason, record.detail, prefix_of(line))
    if not isinstance(record, dict):
        return Reject(
            name, position, "not_an_object", f"the line contains {kind_of(record)}", prefix_of(line)
        )
    copied = reject_of(record)
    if copied is not None:
        return copied
    name, position = origin_of(record) or (name, position)
    id_value = record.get(columns.id_or_default)
    if type(id_value) is float:  # orjson makes one of a whole number that is longer than 64 bits
        id_value = digits_of(line, columns.id_or_default)
    if columns.template is None:
        text = record.get(columns.text)
    else:
        text = templated_text(record, columns, max_bytes)
    if text is None:
        text = Refusal("missing_text", f"no text in column {columns.text!r}{what_it_has(record)}")
    return document_or_reject(
        text,
        path=name,
        position=position,
        columns=columns,
        id_value=id_value,
        values=tuple([record.get(other) for other in columns.others]),
        stored=line,
    )


def _forgiving(line: bytes, columns: Columns, error: str) -> Any:
    """The value of a line that the fast parser refused, or why there is none.

    Python's parser takes what many writers make although it is not JSON: NaN and Infinity, half a
    surrogate pair, bytes that are no UTF-8. These cost the document only in a column that is read.
    """
    try:
        text, wrong = line.decode(), None
    except UnicodeDecodeError as raised:
        text, wrong = line.decode("utf-8", "surrogateescape"), raised
    not_utf8 = Refusal(
        "invalid_utf8",
        f"byte {wrong.start} of the line: {wrong.reason}" if wrong else "half a surrogate pair",
    )
    try:
        value = json.loads(text, parse_int=_whole_number)
    except (ValueError, RecursionError):
        return not_utf8 if wrong else Refusal("malformed_json", error)
    if isinstance(value, dict):
        plain = (
            (columns.text,) if columns.template is None else ()
        )  # what a template makes is looked at later
        read = (*plain, *columns.required)
        if not all(encodes(value.get(name)) for name in read):
            return not_utf8
    return value


def _whole_number(digits: str) -> int | float:
    # Python refuses to read longer ones, and no id or label has as many digits
    return int(digits) if len(digits) < 4000 else float(digits)


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
        return Reject(name, 1, *too_long(size_bytes, max_bytes), prefix_of(content))
    stored = bytes(content).removeprefix(_BOM)
    text = decoded_text(stored, name, 1)
    if isinstance(text, Reject):
        return text
    values = (None,) * len(columns.others)
    return document_or_reject(text, path=name, position=1, columns=columns, values=values, stored=stored)


def _from_parquet(
    source: InputFile, columns: Columns, max_bytes: int, meter: Meter, *, piece: Piece | None = None
) -> Iterator[Document | Reject]:
    position = piece.first - 1 if piece else 0
    try:
        with reading(source.path), open_place(source.path) as handle:
            file = open_parquet(handle, source.path)
            total_rows = max(1, row_count(file))
            names = Counter(top_level_names(file))
            twice = [name for name in (*columns.texts, *columns.required) if names[name] > 1]
            if twice:
                raise BrokenInputError(
                    "ambiguous_columns", f"the file has {names[twice[0]]} columns {twice[0]!r}"
                )
            ids_are_text = names[columns.id_or_default] == 1 and is_text_column(file, columns.id_or_default)
            wanted = dict.fromkeys((*columns.texts, columns.id_or_default, *columns.others))
            groups = range(file.num_row_groups)
            for rows, stored in batches(
                file,
                handle,
                source.path,
                columns=[name for name in wanted if names[name] == 1],
                texts=columns.texts,
                groups=groups[piece.start : piece.stop] if piece else groups,
            ):
                nothing: list[object] = [None] * rows
                ids = stored.get(columns.id_or_default, nothing)
                others = [_texts(stored.get(name, nothing)) for name in columns.others]
                for row, text in enumerate(_row_texts(stored, columns, rows, max_bytes)):
                    position += 1
                    yield _from_value(
                        text,
                        path=source.name,
                        position=position,
                        columns=columns,
                        id_value=id_of_value(ids[row], as_text=ids_are_text),
                        values=tuple([column[row] for column in others]),
                        max_bytes=max_bytes,
                    )
                meter.add(source.size_bytes * rows // total_rows)
    except BrokenInputError as error:
        yield Reject(source.name, position + 1, error.reason, error.detail, "")


def _row_texts(
    stored: Mapping[str, Sequence[object]], columns: Columns, rows: int, max_bytes: int
) -> Iterable[object]:
    """What is the text of each row: its stored value, or what the template makes of its columns."""
    if columns.template is None:
        return stored.get(columns.text, [None] * rows)
    by_name = {name: stored[name] for name in columns.texts if name in stored}
    records = ({name: _plain(values[row]) for name, values in by_name.items()} for row in range(rows))
    return (templated_text(record, columns, max_bytes) for record in records)


def _plain(value: object) -> object:
    """A stored value of Parquet as a template reads it: text for bytes that are text."""
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        return Unreadable(f"byte {error.start} of the text: {error.reason}")


def _from_value(
    stored: object,
    *,
    path: str,
    position: int,
    columns: Columns,
    id_value: object,
    values: tuple[object, ...],
    max_bytes: int,
) -> Document | Reject:
    """The document of a Parquet row, whose text comes as its stored bytes, or from a template."""
    if isinstance(stored, Refusal):
        return Reject(path, position, *stored, "")
    text = stored
    if isinstance(stored, bytes):
        if len(stored) > max_bytes:
            return Reject(path, position, *too_long(len(stored), max_bytes), prefix_of(stored))
        decoded = decoded_text(stored, path, position)
        if isinstance(decoded, Reject):
            return decoded
        text = decoded
    return document_or_reject(
        text,
        path=path,
        position=position,
        columns=columns,
        id_value=id_value,
        values=values,
        stored=stored,
    )


def _texts(values: Sequence[object]) -> Sequence[object]:
    return [
        value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value for value in values
    ]
