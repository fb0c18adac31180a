"""Rows of a Parquet file, whatever state it is in: batches of the columns that count, or one reason.

What Arrow raises for damaged files is wide: its own errors, `UnicodeDecodeError` for a name of a
column, `OverflowError` for a time beyond year 9999, `KeyError`, `TypeError`. All of it becomes a
`BrokenInputError`; a disk or store that fails does not. Columns that nobody asked for are not read.
A value is decoded by itself where a column of them cannot be, so that it costs its row alone.

Memory: `BATCH_BYTES` on average, and `_DECODED_BYTES` where a dictionary holds long values that
many rows name, or values share a long prefix (such a file may be a thousand times smaller than its
text). A page that claims to be much larger than it is stored is not decoded (`parquet_pages`).
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, BinaryIO
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.reading.blocks import BrokenInputError, block_bytes
from dmix.etl.reading.exact_ids import id_of_bytes, id_of_number
from dmix.etl.reading.parquet_pages import check_page, pages
from dmix.etl.templates.conversations import Unreadable
from dmix.warehouse_schema.errors import DmixError, InputError
from dmix.warehouse_schema.light_arrow import compute

BATCH_ROWS = 1024
BATCH_BYTES = 4 << 20
_DECODED_BYTES = 64 << 20
_BELIEVABLE_BYTES = 4 << 30
"""A request for more memory than this comes from damage, and is no sign of a small machine."""
_END_BYTES, _SIGNATURE_BYTES = 8, 28
"""Size of the footer and the magic at the end; nonce and tag that sign a footer, which is before them."""
_NO_VALUE = (ValueError, OverflowError, TypeError, LookupError, OSError)
"""What Arrow raises where Python has no such value. The last two are for time zones: Python looks for a file
of the name, finds none, a folder, or a name that is too long."""


@contextmanager
def damage(reason: str = "damaged_input") -> Iterator[None]:
    """Turns what Arrow raises for the bytes of a file into a `BrokenInputError`.

    Args:
        reason: Which reason it has.
    """
    try:
        yield
    except (DmixError, BrokenInputError):
        raise
    except pa.ArrowMemoryError as error:
        wanted = [int(word) for word in str(error).split() if word.isdecimal()]
        if not wanted or max(wanted) < _BELIEVABLE_BYTES:
            raise
        raise BrokenInputError(reason, _said(error)) from None
    except Exception as error:
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None):
            raise
        raise BrokenInputError(reason, _said(error)) from None


def open_parquet(handle: BinaryIO, path: str, *, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """A Parquet file that is read block by block: by default a whole column chunk is in memory at once.

    Args:
        handle: The open file.
        path: Its path, which says how large a block is.
        dictionaries: Columns whose values come as dictionary and indices.

    Raises:
        BrokenInputError: If it is damaged.
        InputError: If it is encrypted.
    """
    with damage():
        try:
            file = pq.ParquetFile(
                handle, buffer_size=block_bytes(path), pre_buffer=False, read_dictionary=list(dictionaries)
            )
        except pa.ArrowInvalid as error:
            if "footer" in str(error):
                raise BrokenInputError("truncated_input", _said(error)) from None
            raise
        if _is_signed(file, handle):
            raise encrypted(path)
        return file


def encrypted(path: str) -> InputError:
    """The error for a Parquet file that needs a key."""
    return InputError(
        f"{path} is an encrypted Parquet file, and dmix has no key; write it without encryption"
    )


def _is_signed(file: pq.ParquetFile, handle: BinaryIO) -> bool:
    """True if a signature follows the footer: the columns are encrypted though the footer is not.

    Arrow ends the process when it is asked for the metadata of such a column (pyarrow 26).
    """
    handle.seek(-_END_BYTES, os.SEEK_END)
    footer_bytes = int.from_bytes(handle.read(4), "little")
    return footer_bytes - int(file.metadata.serialized_size) == _SIGNATURE_BYTES


def top_level_names(file: pq.ParquetFile) -> list[str]:
    """Names of the columns; one may come twice.

    Raises:
        BrokenInputError: If they cannot be read.
    """
    with damage():
        return list(file.schema_arrow.names)


def batches(
    file: pq.ParquetFile,
    handle: BinaryIO,
    path: str,
    *,
    columns: Sequence[str],
    texts: Sequence[str] = (),
    groups: Iterable[int],
) -> Iterator[tuple[int, dict[str, list[object]]]]:
    """(number of rows, values by column) of row groups in order, some rows at a time.

    Args:
        file: What `open_parquet` gave.
        handle: The open file.
        path: Its path.
        columns: Names of columns, each of which the file has once.
        texts: Those whose bytes are text, also where all values have one length.
        groups: Numbers of row groups.

    Raises:
        BrokenInputError: At the first row that cannot be read; rows before it were handed out.
    """
    for group in groups:
        with damage():
            metadata = file.metadata.row_group(group)
            expected = metadata.num_rows
            mean_bytes = max(1, metadata.total_byte_size // max(1, expected))
            rows = max(1, min(BATCH_ROWS, BATCH_BYTES // mean_bytes))
            rows = min(rows, _rows_by_pages(file, handle, columns=columns, group=group))
            rows = min(rows, _rows_by_dictionary(file, handle, path, columns=columns, group=group, rows=rows))
            found = file.iter_batches(rows, row_groups=[group], columns=list(columns), use_threads=False)
        seen = 0
        while True:
            with damage():
                batch = next(found, None)
                if batch is None:
                    break
                by_name = dict(zip(batch.schema.names, batch.columns, strict=True))
                values = {
                    name: _values(by_name[name], as_text=name in texts) for name in columns if name in by_name
                }
            seen += batch.num_rows
            yield batch.num_rows, values
        if seen != expected:
            raise BrokenInputError(
                "damaged_input", f"row group {group} contains {seen:,} rows, but the footer says {expected:,}"
            )


def row_count(file: pq.ParquetFile) -> int:
    """Rows of a file as its footer says.

    Raises:
        BrokenInputError: If the row groups say something else.
    """
    with damage():
        metadata = file.metadata
        groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        if sum(groups) != metadata.num_rows or any(rows < 0 for rows in groups):
            raise BrokenInputError(
                "damaged_input",
                f"the footer says {metadata.num_rows:,} rows, but its row groups have {sum(groups):,}",
            )
        return int(metadata.num_rows)


def refuse_id_type(kind: pa.DataType, *, column: str, path: str) -> None:
    """Refuses a column as the source of ids whose values have no exact text.

    Raises:
        InputError: If it is one of times, of true and false, or of lists and structures.
    """
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
    wrong = pa.types.is_temporal(kind) or pa.types.is_boolean(kind) or pa.types.is_nested(kind)
    if wrong and not isinstance(kind, pa.UuidType):
        raise InputError(
            f"{path}: column {column!r} contains {kind}, and dmix cannot use this type as an id; give a "
            "column of text, numbers, bytes or UUIDs with --id-column, or leave --id-column out"
        )


def id_of_value(value: object, *, as_text: bool = False) -> object:
    """The id from a value of a Parquet column: exact text, None for none, or the value itself.

    What is neither text nor number nor bytes comes back as it is, and is no id.

    Args:
        value: As `batches` gives it.
        as_text: True for a column of text: its bytes are that text, with any control characters, as they are
            in JSON Lines. Bytes that are no UTF-8 become halves of surrogate pairs.
    """
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape") if as_text else id_of_bytes(value)
    return id_of_number(value)


def is_text_column(file: pq.ParquetFile, name: str) -> bool:
    """True if the file declares a column, which it has once, as text.

    Raises:
        BrokenInputError: If the schema cannot be read.
    """
    with damage():
        kind = file.schema_arrow.field(name).type
    return _is_text(kind.value_type if isinstance(kind, pa.DictionaryType) else kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _rows_by_pages(file: pq.ParquetFile, handle: BinaryIO, *, columns: Sequence[str], group: int) -> int:
    """Rows that are not more than `_DECODED_BYTES` where values share prefixes; all pages are looked at.

    In a page of DELTA_BYTE_ARRAY, each value may be as long as all that the page holds.

    Raises:
        BrokenInputError: If a page claims more than `check_page` lets it.
    """
    metadata, longest = file.metadata.row_group(group), 1
    for number in range(metadata.num_columns):
        column, schema = metadata.column(number), file.schema.column(number)
        if not any(schema.path == name or schema.path.startswith(f"{name}.") for name in columns):
            continue
        start = column.data_page_offset
        if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < start:
            start = column.dictionary_page_offset
        for page in pages(handle, start, column.total_compressed_size, values=column.num_values):
            check_page(page, repeated=schema.max_repetition_level > 0)
            if "DELTA_BYTE_ARRAY" in column.encodings:
                longest = max(longest, page.decoded_bytes)
    return max(1, _DECODED_BYTES // longest)


def _rows_by_dictionary(
    file: pq.ParquetFile, handle: BinaryIO, path: str, *, columns: Sequence[str], group: int, rows: int
) -> int:
    """Rows that are not more than `_DECODED_BYTES`, should each name the longest values of dictionaries.

    Of values in lists, a row is taken to have as many as the mean one.
    """
    metadata = file.metadata.row_group(group)
    stored, most_values = {}, 1
    for number in range(metadata.num_columns):
        column = metadata.column(number)
        name = file.schema.column(number).path  # that of the row group may be damaged
        wanted = name in columns or name.partition(".")[0] in columns
        if wanted and column.physical_type == "BYTE_ARRAY" and column.has_dictionary_page:
            stored[name] = column.total_uncompressed_size
            most_values = max(most_values, -(-column.num_values // max(1, metadata.num_rows)))
    if not stored or rows * most_values * max(stored.values()) <= _DECODED_BYTES:
        return rows
    probe = open_parquet(handle, path, dictionaries=tuple(stored))
    first = next(probe.iter_batches(1, row_groups=[group], columns=list(stored), use_threads=False), None)
    if first is None:
        return rows
    longest = 1
    for column in first.columns:
        for dictionary in _dictionaries(column):
            longest += compute("max", compute("binary_length", dictionary)).as_py() or 0
    return min(rows, max(1, _DECODED_BYTES // (longest * most_values)))


def _dictionaries(column: pa.Array) -> Iterator[pa.Array]:
    """Dictionaries of text or bytes of a column, or inside its lists and structures."""
    if isinstance(column.type, pa.DictionaryType):
        if len(column.dictionary):
            yield column.dictionary
    elif isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        yield from _dictionaries(column.values)
    elif isinstance(column, pa.StructArray):
        for number in range(column.type.num_fields):
            yield from _dictionaries(column.field(number))


def _values(column: pa.Array, *, as_text: bool = False) -> list[object]:
    """Values of a column; text as its stored bytes, since one that is no UTF-8 would spoil the rest.

    Bytes of one length are hexadecimal digits, except where they are text.
    """
    if isinstance(column, pa.DictionaryArray):
        column.validate(full=True)
        known = _values(column.dictionary, as_text=as_text)
        return [None if index is None else known[index] for index in column.indices.to_pylist()]
    kind = column.type
    if _is_text(kind):
        column = column.cast(pa.large_binary())
    elif pa.types.is_fixed_size_binary(kind) and not as_text:
        return [None if value is None else value.hex() for value in column.to_pylist()]
    try:
        values: list[object] = column.to_pylist()
    except _NO_VALUE:
        values = [_value(scalar) for scalar in column]
    return values


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _NO_VALUE as error:
        return Unreadable(_said(error))


def _said(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{lines[0] if lines else type(error).__name__}"[:500]
