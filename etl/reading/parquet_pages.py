"""Sizes that the pages of a Parquet file claim, read from their headers before anything is decoded.

Arrow takes as much memory as a page header says, whatever the footer says, and a header may be a lie.
Writers make pages of about a megabyte; some make one page of a whole column chunk. So a page may be
large if it is stored large, and a small one that claims to be large is refused (`check_page`).

Headers are Thrift's compact protocol (parquet.thrift, `PageHeader`): field 2 is the decoded size, 3 the
stored size, and 5, 7 or 8 hold the number of values as their field 1.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from dmix.etl.reading.blocks import BrokenInputError

LARGE_BYTES = 64 << 20
"""A page that decodes to no more than this is read whatever it is stored as."""
MOST_RATIO = 100
"""A larger one must be stored in at least a hundredth of it; text is a tenth to a third."""
MOST_VALUES = 1 << 24
"""Values of one page of a column of lists, whose rows may hold any number of them."""
_FIRST_BYTES, _MOST_HEADER_BYTES = 1 << 9, 16 << 20
_DEEPEST = 16


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one page header says.

    Attributes:
        decoded_bytes: Size of its content when it is decompressed.
        stored_bytes: Size of its content in the file.
        values: Number of values, those that are null included.
        dictionary: Whether it holds the dictionary of its column, not rows.
    """

    decoded_bytes: int
    stored_bytes: int
    values: int
    dictionary: bool = False


def check_page(page: Page, *, repeated: bool) -> None:
    """Returns if decoding a page takes memory in proportion to what is stored.

    Args:
        page: What its header says.
        repeated: Whether its column holds lists.

    Raises:
        BrokenInputError: If not.
    """
    if page.decoded_bytes > max(LARGE_BYTES, MOST_RATIO * page.stored_bytes):
        raise BrokenInputError(
            "damaged_input",
            f"a page of {page.stored_bytes:,} bytes claims {page.decoded_bytes:,} decoded bytes. Above "
            f"{LARGE_BYTES:,} decoded bytes, dmix accepts at most 100 times the stored bytes",
        )
    if repeated and page.values > MOST_VALUES:
        raise BrokenInputError(
            "damaged_input",
            f"a page of lists claims {page.values:,} values, more than {MOST_VALUES:,}",
        )


def pages(handle: BinaryIO, start: int, stored_bytes: int, *, values: int) -> Iterator[Page]:
    """The pages of a column chunk that Arrow would decode; the headers alone are read.

    Args:
        handle: The open file.
        start: Where the chunk begins.
        stored_bytes: Size of the chunk in the file.
        values: Values of the chunk; pages behind them are never decoded.

    Raises:
        BrokenInputError: If a header cannot be read.
    """
    if values <= 0:
        return
    if start < 0 or stored_bytes < 0:
        raise BrokenInputError("damaged_input", f"a column chunk of {stored_bytes:,} bytes at {start:,}")
    position, end = start, start + stored_bytes
    while position < end and values > 0:
        page, header_bytes = _page_at(handle, position)
        yield page
        values -= 0 if page.dictionary else page.values
        position += header_bytes + page.stored_bytes


def _page_at(handle: BinaryIO, position: int) -> tuple[Page, int]:
    """The page whose header begins at a place, and the size of that header."""
    wanted = _FIRST_BYTES
    while True:
        try:
            handle.seek(position)
        except (OSError, OverflowError) as error:  # a place that no file of this disk has
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise
            raise BrokenInputError("damaged_input", f"no page header at byte {position:,}") from None
        content = _read(handle, wanted)
        try:
            fields, size = _struct(content, 0, 0)
            break
        except IndexError:
            if len(content) < wanted or wanted >= _MOST_HEADER_BYTES:
                raise BrokenInputError("damaged_input", f"no page header at byte {position:,}") from None
            wanted *= 16
    decoded, stored = fields.get(2), fields.get(3)
    about = fields.get(5) or fields.get(7) or fields.get(8) or {}
    values = (about.get(1) or 0) if isinstance(about, dict) else 0
    if not (isinstance(decoded, int) and isinstance(stored, int) and decoded >= 0 and stored >= 0):
        raise BrokenInputError("damaged_input", f"the page header at byte {position:,} gives no sizes")
    if not isinstance(values, int) or values < 0:
        raise BrokenInputError(
            "damaged_input", f"the page header at byte {position:,} gives no number of values"
        )
    dictionary = not (fields.get(5) or fields.get(8))
    return Page(decoded_bytes=decoded, stored_bytes=stored, values=values, dictionary=dictionary), size


def _read(handle: BinaryIO, size_bytes: int) -> bytes:
    """So many bytes from here on, fewer at the end; an unbuffered file may give them in pieces."""
    found = b""
    while len(found) < size_bytes and (piece := handle.read(size_bytes - len(found))):
        found += piece
    return found


def _struct(content: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Integers and structures of a structure by field number, and the place behind it.

    Raises:
        IndexError: If the content ends before.
        BrokenInputError: If it is no structure.
    """
    if depth > _DEEPEST:
        raise BrokenInputError("damaged_input", "a page header is nested too deeply")
    fields: dict[int, Any] = {}
    number = 0
    while True:
        head = content[at]
        at += 1
        if head == 0:
            return fields, at
        if head >> 4:
            number += head >> 4
        else:
            number, at = _integer(content, at)
        fields[number], at = _value(content, at, head & 15, depth)


def _value(content: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true and false have no bytes of their own
        return None, at
    if kind == 3:
        return None, at + 1
    if kind in (4, 5, 6):
        return _integer(content, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        size, at = _unsigned(content, at)
        return None, _within(content, at + size)
    if kind in (9, 10):
        return None, _behind_list(content, at, depth)
    if kind == 12:
        return _struct(content, at, depth + 1)
    raise BrokenInputError("damaged_input", f"a page header has a field of the unknown type {kind}")


def _behind_list(content: bytes, at: int, depth: int) -> int:
    head = content[at]
    size, at = (head >> 4, at + 1) if head >> 4 < 15 else _unsigned(content, at + 1)
    if depth > _DEEPEST:
        raise BrokenInputError("damaged_input", "a page header is nested too deeply")
    # true and false have a byte each in a list, so that every element takes the place further
    kind = 3 if head & 15 in (1, 2) else head & 15
    for _ in range(size):
        _, at = _value(content, _within(content, at), kind, depth + 1)
    return at


def _within(content: bytes, at: int) -> int:
    if at > len(content):
        raise IndexError(at)
    return at


def _integer(content: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(content, at)
    return (value >> 1) ^ -(value & 1), at


def _unsigned(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise BrokenInputError("damaged_input", "a page header contains a number of more than 64 bits")
