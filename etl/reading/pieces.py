"""Pieces of a large input: where it is cut, and the bytes of one piece.

A piece is classified and published by itself, so that one file keeps many workers busy and a
killed job goes on in its middle. Lines are cut behind a line's end, Parquet between row groups;
text files are one document and stay whole. Borders follow from the bytes and `piece_bytes`
alone. A compressed stream is cut by its decompressed bytes, and a worker has to decompress all
that stands before a piece; it keeps the stream open, so that the next piece goes on from there.
"""

import dataclasses
import zlib
from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from dmix.etl.reading.blocks import decompressed, file_blocks
from dmix.warehouse_schema.files.manifests import InputFile, Piece


class LineCutter:
    """Finds the pieces of lines that are fed to it block by block.

    Args:
        piece_bytes: A piece ends behind the first line that makes it so long.
    """

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._pieces: list[Piece] = []
        self._offset = self._lines = self._crc32 = 0
        self._start, self._first = 0, 1

    def feed(self, block: bytes) -> None:
        """Takes the next bytes, whose borders mean nothing."""
        at = 0
        while at < len(block):
            missing = self._start + self._piece_bytes - self._offset
            end = block.find(b"\n", at + max(0, missing - 1))
            self._take(block, at, len(block) if end < 0 else end + 1)
            if end < 0:
                return
            at = end + 1
            self._close()

    def finish(self) -> tuple[Piece, ...]:
        """All pieces; none if there would be only one."""
        if self._offset > self._start:
            self._close()
        return _counted(self._pieces)

    def _take(self, block: bytes, start: int, stop: int) -> None:
        self._crc32 = zlib.crc32(memoryview(block)[start:stop], self._crc32)
        self._lines += block.count(b"\n", start, stop)
        self._offset += stop - start

    def _close(self) -> None:
        self._pieces.append(
            Piece(
                index=len(self._pieces),
                count=0,
                start=self._start,
                stop=self._offset,
                first=self._first,
                crc32=self._crc32,
            )
        )
        self._start, self._first, self._crc32 = self._offset, self._lines + 1, 0


class RowGroupCutter:
    """Pieces of a Parquet file, whose stored bytes are fed to it for the checksums.

    Args:
        metadata: The file's footer.
        piece_bytes: A piece ends with the first row group that makes it so long, before
            compression.
    """

    def __init__(self, metadata: pq.FileMetaData, piece_bytes: int) -> None:
        self._pieces: list[Piece] = []
        self._ranges: list[tuple[int, int]] = []
        start = size_bytes = rows = 0
        first = 1
        for group in range(metadata.num_row_groups):
            size_bytes += metadata.row_group(group).total_byte_size
            rows += metadata.row_group(group).num_rows
            if size_bytes < piece_bytes and group + 1 < metadata.num_row_groups:
                continue
            self._pieces.append(
                Piece(index=len(self._pieces), count=0, start=start, stop=group + 1, first=first, crc32=0)
            )
            self._ranges.append(stored_range(metadata, start, group + 1))
            start, size_bytes, first = group + 1, 0, rows + 1
        self._crc32 = [0] * len(self._pieces)
        self._offset = 0

    def feed(self, block: bytes) -> None:
        """Takes the next stored bytes of the file."""
        view, end = memoryview(block), self._offset + len(block)
        for index, (start, stop) in enumerate(self._ranges):
            if start < end and stop > self._offset:
                part = view[max(0, start - self._offset) : stop - self._offset]
                self._crc32[index] = zlib.crc32(part, self._crc32[index])
        self._offset = end

    def finish(self) -> tuple[Piece, ...]:
        """All pieces; none if there would be only one."""
        pairs = zip(self._pieces, self._crc32, strict=True)
        return _counted([dataclasses.replace(piece, crc32=crc32) for piece, crc32 in pairs])


def stored_range(metadata: pq.FileMetaData, start: int, stop: int) -> tuple[int, int]:
    """(first byte, byte behind the last) of row groups `start` to `stop` of a Parquet file."""
    borders = []
    for group in range(start, stop):
        row_group = metadata.row_group(group)
        for number in range(row_group.num_columns):
            column = row_group.column(number)
            offsets = (column.dictionary_page_offset, column.data_page_offset)
            first = min(offset for offset in offsets if offset)
            borders += [first, first + column.total_compressed_size]
    return max(0, min(borders)), max(borders)


def piece_bytes_of(size_bytes: int, *, piece_bytes: int) -> int:
    """Bytes that pieces of equal length have, of which at most one falls short.

    Args:
        size_bytes: Length of what is cut.
        piece_bytes: Least length of a piece.
    """
    return -(-size_bytes // max(1, size_bytes // piece_bytes))


def line_blocks(source: InputFile, piece: Piece) -> Iterator[bytes]:
    """The lines of a piece, decompressed, in blocks.

    Raises:
        BrokenInputError: At the place where the input breaks, if that lies in this piece.
        NotFoundError: If the file vanished.
    """
    if source.compression == "none":
        yield from file_blocks(source.path, start=piece.start, stop=piece.stop)
        return
    # a break is noticed only by reading on
    stop = None if piece.index + 1 == piece.count else piece.stop
    try:
        yield from _open_stream(source).read(piece.start, stop)
    except BaseException:  # a broken stream cannot be read on
        _open.clear()
        raise


class _Stream:
    """Decompressed bytes of a file from any place on; going back reads it anew."""

    def __init__(self, source: InputFile) -> None:
        self.source = source
        self._blocks: Iterator[bytes] = iter(())
        self._rest, self._offset = b"", 0
        self._rewind()

    def read(self, start: int, stop: int | None) -> Iterator[bytes]:
        if start < self._offset:
            self._rewind()
        while stop is None or self._offset < stop:
            block = self._rest or next(self._blocks, b"")
            if not block:
                return
            skip = min(len(block), max(0, start - self._offset))
            take = len(block) if stop is None else min(len(block), stop - self._offset)
            self._rest = block[take:]
            self._offset += take
            if take > skip:
                yield block[skip:take]

    def _rewind(self) -> None:
        self._blocks = decompressed(file_blocks(self.source.path), self.source.compression)
        self._rest, self._offset = b"", 0


_open: list[_Stream] = []
"""The stream that this process read last: Spark's workers live for many tasks."""


def _open_stream(source: InputFile) -> _Stream:
    if not _open or _open[0].source != source:
        _open[:] = [_Stream(source)]
    return _open[0]


def _counted(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    if len(pieces) < 2:
        return ()
    return tuple(dataclasses.replace(piece, count=len(pieces)) for piece in pieces)
