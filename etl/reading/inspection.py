"""One reading of an input file: its hash, its pieces, and whether it is what its ending says.

The first bytes have to agree with the ending, since endings say how a file is read.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.reading.blocks import BrokenInputError, decompressed, file_blocks, reading
from dmix.etl.reading.pieces import LineCutter, RowGroupCutter, piece_bytes_of
from dmix.etl.reading.sources import ENDINGS, KNOWN, FoundFile
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import InputFile, Piece
from dmix.warehouse_schema.files.storage import open_place

# bzip2: level digit and block magic are left out here and checked apart, "BZh" could be text
_MAGIC = {
    "gzip": b"\x1f\x8b",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bz2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "lz4": b"\x04\x22\x4d\x18",
    "zip": b"PK\x03\x04",
    "parquet": b"PAR1",
}
_HEAD_BYTES = 16


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What one reading of a file tells.

    Attributes:
        pieces: Where it is cut; empty if it stays whole.
    """

    source: InputFile
    pieces: tuple[Piece, ...]


def inspection_from_json(value: Mapping[str, Any]) -> Inspection:
    """The inspection whose plain form (`dataclasses.asdict`) was stored as JSON."""
    return Inspection(
        source=InputFile(**value["source"]), pieces=tuple(Piece(**piece) for piece in value["pieces"])
    )


def inspect_file(found: FoundFile, *, columns: Sequence[str]) -> InputFile:
    """Reads a file once: its hash, and whether it is what its ending says; see `inspect_and_cut`."""
    return inspect_and_cut(found, columns=columns, piece_bytes=None).source


def inspect_and_cut(found: FoundFile, *, columns: Sequence[str], piece_bytes: int | None) -> Inspection:
    """Reads a file once: its hash, its pieces, and whether it is what its ending says.

    Args:
        found: The file.
        columns: Columns that a Parquet file must have.
        piece_bytes: Least size of a piece; None leaves the file whole.

    Raises:
        InputError: If the first bytes do not fit the ending, a `.json` file is one JSON document
            over several lines, or a Parquet file lacks a column.
        NotFoundError: If the file vanished.
    """
    digest, head, tail, size_bytes = hashlib.sha256(), b"", b"", 0

    def stored() -> Iterator[bytes]:
        nonlocal head, tail, size_bytes
        for block in file_blocks(found.path):
            digest.update(block)
            size_bytes += len(block)
            head = head or block[:_HEAD_BYTES]
            tail = (tail + block[-4:])[-4:]
            yield block

    pieces = _pieces(found, stored(), piece_bytes)
    _check_magic(found, head, tail)
    if found.path.lower().removesuffix(ENDINGS.get(found.compression, "")).endswith(".json"):
        _check_one_document_a_line(found)
    if found.format == "parquet":
        _check_parquet_columns(found, columns)
    source = InputFile(
        path=found.path,
        name=found.name,
        size_bytes=size_bytes,
        sha256=digest.hexdigest(),
        format=found.format,
        compression=found.compression,
    )
    return Inspection(source=source, pieces=pieces)


def _pieces(found: FoundFile, stored: Iterator[bytes], piece_bytes: int | None) -> tuple[Piece, ...]:
    """Where a file is cut; reads `stored` to its end."""
    cutter: LineCutter | RowGroupCutter | None = None
    content = stored
    if piece_bytes is not None and found.format == "jsonl":
        if found.compression == "none":
            piece_bytes = piece_bytes_of(found.size_bytes, piece_bytes=piece_bytes)
        cutter = LineCutter(piece_bytes)
        content = decompressed(stored, found.compression)
    elif piece_bytes is not None and found.format == "parquet":
        try:
            with reading(found.path), open_place(found.path) as file:
                cutter = RowGroupCutter(pq.read_metadata(file), piece_bytes)
        except (pa.ArrowInvalid, OSError):
            pass  # damaged: reading it makes a reject
    try:
        for block in content:
            if cutter is not None:
                cutter.feed(block)
    except BrokenInputError:
        pass  # the last piece ends here, and reading it makes a reject
    for _ in stored:
        pass
    return cutter.finish() if cutter is not None else ()


def _detected(head: bytes, tail: bytes) -> str | None:
    """What the first bytes say; None for anything that could be text."""
    for name, magic in _MAGIC.items():
        if not head.startswith(magic):
            continue
        # "BZh" and "PAR1" are letters: a text may start with them
        if name == "bz2" and head[4:10] != b"1AY&SY" and head[4:10] != b"\x17rE8P\x90":
            continue
        if name == "parquet" and tail != magic:
            continue
        return name
    if head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F:  # skippable frame (pzstd)
        return "zstd"
    return None


def _check_magic(found: FoundFile, head: bytes, tail: bytes) -> None:
    wanted = "parquet" if found.format == "parquet" else found.compression
    detected = _detected(head, tail)
    if wanted == "none":
        if detected is None:
            return
        if detected in ENDINGS:
            raise InputError(
                f"{found.path} holds {detected} data; rename it to {found.path}{ENDINGS[detected]}"
            )
        raise InputError(
            f"{found.path} holds {detected} data, which its ending does not say; decompress it or"
            f" correct its name ({KNOWN})"
        )
    magic = _MAGIC[wanted]
    # a file that was cut off inside or after its magic is a truncated one, and a reject says so
    if detected in (wanted, None) and (head.startswith(magic) or magic.startswith(head[: len(magic)])):
        return
    if detected == "zstd" and wanted == "zstd":
        return
    raise InputError(
        f"{found.path} is named like a {wanted} file but holds {detected or 'something else'};"
        " correct its name or compress it again"
    )


def _check_one_document_a_line(found: FoundFile) -> None:
    try:
        first = next(iter(decompressed(file_blocks(found.path), found.compression)), b"")
    except BrokenInputError:
        return
    first_line = first.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n", 1)[0].strip()
    if first_line.startswith(b"[") or first_line == b"{":
        raise InputError(
            f"{found.path} is one JSON document over several lines, expected one object a line;"
            " convert it with \"jq -c '.[]' FILE.json > FILE.jsonl\""
        )


def _check_parquet_columns(found: FoundFile, columns: Sequence[str]) -> None:
    try:
        with reading(found.path), open_place(found.path) as file:
            names = pq.read_schema(file).names
    except (pa.ArrowInvalid, OSError):
        return  # damaged: reading it makes a reject
    missing = [column for column in columns if column not in names]
    if missing:
        raise InputError(
            f"{found.path} has no column {missing[0]!r} (it has: {', '.join(names)}); name the right one"
            " with --text-column, --id-column or column:NAME"
        )
