"""Bytes of an input, local or remote, in blocks: read, counted, hashed, decompressed, cut into lines.

Memory: a few blocks.

Own loops over the decompressors of zlib, bz2 and zstandard, because the file objects around
them lose what stands before a break (pyarrow) or do not notice one (zstandard).
"""

import bz2
import errno
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import zstandard

from dmix.etl.publishing.rejects import PREFIX_CHARACTERS
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.storage import is_url, open_place, read_errors

BLOCK_BYTES = 256 << 10
"""Stored bytes a read."""

REMOTE_BLOCK_BYTES = 4 << 20
"""Stored bytes a request to a remote store."""

_PIECE_BYTES = 16 << 10
"""Stored bytes that are decompressed at once: the most that damage takes along, and a bound on
what hostile zeros inflate to (16 MB as gzip)."""

_INFLATED_BYTES = 16 << 20
"""Decompressed bytes that are held before they are handed out."""

_STEP_BYTES = {"zstd": 1 << 10}
"""Stored bytes that are given to a decompressor that takes no bound: 1 KiB of zstd inflate to 32 MiB."""

_PREFIX_BYTES = PREFIX_CHARACTERS * 4
"""Bytes of a line too long to keep that are kept for its reject."""

_SHOWN = 400
"""Characters of a path that are shown: one may be too long for the system."""

_REMEDIES = {
    errno.ENAMETOOLONG: "give its folders shorter names, or give a folder inside it",
    errno.ELOOP: "remove the link; its target is the link itself",
    errno.ENOTCONN: "mount its file system again",
    errno.ESTALE: "mount its file system again",
    errno.ENODEV: "mount its file system again",
    errno.EIO: "check the disk (dmesg shows errors), or use a copy",
}
"""What to do about an input that the system does not open."""

_MAX_WINDOW_BYTES = 1 << 31  # zstd --long=31


class BrokenInputError(Exception):
    """The bytes of an input end or turn to noise before their time.

    Args:
        reason: `truncated_input` or `damaged_input`.
        detail: What was seen.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@contextmanager
def reading(path: str) -> Iterator[None]:
    """Turns a vanished file, a refused read and a silent store into errors for people."""
    try:
        with read_errors(path):
            yield
    except (FileNotFoundError, NotADirectoryError):
        raise NotFoundError(f"input {path} disappeared; restore it and run the same command again") from None
    except PermissionError:
        raise InputError(f"dmix may not read input {path}; check its permissions") from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            raise
        shown = path if len(path) < _SHOWN else f"{path[:_SHOWN]}…"
        raise InputError(f"dmix cannot read input {shown} ({error.strerror}); {remedy}") from None


def block_bytes(path: str) -> int:
    """Stored bytes a read of this file."""
    return REMOTE_BLOCK_BYTES if is_url(path) else BLOCK_BYTES


def file_blocks(
    path: str,
    *,
    start: int = 0,
    stop: int | None = None,
    seen: Callable[[bytes], object] = lambda block: None,
) -> Iterator[bytes]:
    """The stored bytes of a file, or of a stretch of it.

    Args:
        path: Path or URL.
        start: First byte.
        stop: Byte behind the last one; None for the end of the file.
        seen: Called with every block, for counting and hashing.

    Raises:
        NotFoundError: If there is no such file.
        InputError: If it may not be read.
        StorageError: If a remote store cannot be reached or refuses.
    """
    most = block_bytes(path)
    with reading(path), open_place(path) as file:
        file.seek(start)
        left = most if stop is None else stop - start
        while block := file.read(min(most, left)):
            if stop is not None:
                left -= len(block)
            seen(block)
            yield block


class _Held:
    """Decompressed bytes of one piece: damage drops them together, and a bomb does not pile them up."""

    def __init__(self) -> None:
        self._contents: list[bytes] = []
        self._size_bytes = 0

    def take(self, content: bytes) -> Iterator[bytes]:
        self._contents.append(content)
        self._size_bytes += len(content)
        if self._size_bytes >= _INFLATED_BYTES:
            yield from self.rest()

    def rest(self) -> Iterator[bytes]:
        contents, self._contents = self._contents, []
        if self._size_bytes:
            self._size_bytes = 0
            yield contents[0] if len(contents) == 1 else b"".join(contents)


def decompressed(blocks: Iterable[bytes], compression: str) -> Iterator[bytes]:
    """What `blocks` hold, of one or several concatenated streams.

    Args:
        blocks: Stored bytes.
        compression: `none`, `gzip`, `zstd` or `bz2`.

    Yields:
        At most some 48 MB at once, whatever the bytes inflate to.

    Raises:
        BrokenInputError: After everything before the break has been handed out.
    """
    if compression == "none":
        yield from blocks
        return
    stream: Any = None
    streams = 0
    held = _Held()
    most = _STEP_BYTES.get(compression, _PIECE_BYTES)
    limit = (_INFLATED_BYTES,) if compression == "bz2" else ()
    pieces = (block[i : i + _PIECE_BYTES] for block in blocks for i in range(0, len(block), _PIECE_BYTES))
    for left in pieces:
        while left:
            if stream is None:
                if streams and not left.strip(b"\0"):  # padding of tapes and block devices
                    break
                stream = _DECOMPRESSORS[compression]()
                streams += 1
            step, left = left[:most], left[most:]
            waiting = True
            while waiting:
                try:
                    content = stream.decompress(step, *limit)
                except (zlib.error, zstandard.ZstdError, OSError, ValueError) as error:
                    raise BrokenInputError(
                        "damaged_input", f"{compression} stream {streams}: {error}"
                    ) from None
                yield from held.take(content)
                step = b""
                waiting = not stream.eof and not getattr(stream, "needs_input", True)
            if stream.eof:
                yield from held.rest()
                left, stream = stream.unused_data + left, None
        yield from held.rest()
    if stream is not None or not streams:
        raise BrokenInputError("truncated_input", f"the {compression} stream ends before its end mark")


_DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "bz2": bz2.BZ2Decompressor,
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).decompressobj(),
}


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
            elif len(held) > _PREFIX_BYTES:
                del held[_PREFIX_BYTES:]
            elif len(held) < _PREFIX_BYTES:
                held += rest[:_PREFIX_BYTES]
    except BrokenInputError as error:
        broken = error
    if size_bytes or broken:
        yield _line(held, size_bytes, max_bytes)
    if broken:
        raise broken


def _line(content: bytes | bytearray, size_bytes: int, max_bytes: int) -> bytes | LongLine:
    if size_bytes > max_bytes:
        return LongLine(size_bytes, bytes(content[:_PREFIX_BYTES]))
    return bytes(content)
