"""One reading of an input file: its hash, its pieces, and whether it is what its ending says.

The first bytes have to agree with the ending, since endings say how a file is read.
"""

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from dmix.etl.reading.blocks import BrokenInputError, decompressed, file_blocks, reading
from dmix.etl.reading.parquet import (
    damage,
    encrypted,
    open_parquet,
    refuse_id_type,
    row_count,
    top_level_names,
)
from dmix.etl.reading.pieces import LineCutter, RowGroupCutter, piece_bytes_of
from dmix.etl.reading.sources import ENDINGS, KNOWN, FoundFile
from dmix.etl.templates.alternatives import NOTHING, Alternatives
from dmix.etl.templates.unread import text_flag
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import InputFile, Piece
from dmix.warehouse_schema.files.storage import is_url, open_place

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

Shapes = Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The facts that one reading of a file gives.

    Attributes:
        pieces: Where it is cut; empty if it stays whole.
    """

    source: InputFile
    pieces: tuple[Piece, ...]


def inspect_file(
    found: FoundFile,
    *,
    columns: Sequence[str],
    shapes: Shapes = (),
    read: Alternatives | None = NOTHING,
) -> InputFile:
    """Reads a file once: its hash, and whether it is what its ending says; see `inspect_and_cut`."""
    return inspect_and_cut(found, columns=columns, shapes=shapes, read=read, piece_bytes=None).source


def hashed(found: FoundFile) -> InputFile:
    """The file and its hash, without a look at what its bytes mean."""
    digest, size_bytes = hashlib.sha256(), 0
    for block in file_blocks(found.path):
        digest.update(block)
        size_bytes += len(block)
    return _input_file(found, size_bytes, digest.hexdigest())


def inspect_and_cut(
    found: FoundFile,
    *,
    columns: Sequence[str],
    shapes: Shapes = (),
    read: Alternatives | None = NOTHING,
    piece_bytes: int | None,
    id_column: str | None = None,
) -> Inspection:
    """Reads a file once: its hash, its pieces, and whether it is what its ending says.

    Args:
        found: The file.
        columns: Columns that a Parquet file must have.
        shapes: Columns of the text: a Parquet file must have all of one of these.
        read: What is tried on a record, which advice adds to; None where a template takes no addition.
        piece_bytes: Least size of a piece; None leaves the file whole.
        id_column: Column that the ids come from, if the user named one.

    Raises:
        InputError: If the first bytes do not fit the ending, a `.json` file is one JSON document
            over several lines, or a Parquet file lacks a column or has one of ids that have no text.
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
        _check_parquet_columns(found, columns, shapes, id_column, read)
    return Inspection(source=_input_file(found, size_bytes, digest.hexdigest()), pieces=pieces)


def _input_file(found: FoundFile, size_bytes: int, sha256: str) -> InputFile:
    return InputFile(
        path=found.path,
        name=found.name,
        size_bytes=size_bytes,
        sha256=sha256,
        format=found.format,
        compression=found.compression,
    )


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
            with reading(found.path), open_place(found.path) as handle:
                file = open_parquet(handle, found.path)
                row_count(file)
                with damage():
                    cutter = RowGroupCutter(file.metadata, piece_bytes)
        except BrokenInputError:
            pass  # reading it makes a reject
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
    if wanted == "parquet" and head.startswith(b"PARE"):
        raise encrypted(found.path)
    detected = _detected(head, tail)
    if wanted == "none":
        if detected is None:
            return
        if detected in ENDINGS:
            raise InputError(
                f"{found.path} contains {detected} data; rename it to {found.path}{ENDINGS[detected]}"
            )
        raise InputError(
            f"{found.path} contains {detected} data, but its ending is of another format; decompress it "
            f"or correct its name ({KNOWN})"
        )
    magic = _MAGIC[wanted]
    # a file that was cut off inside or after its magic is a truncated one, and a reject says so
    if detected in (wanted, None) and (head.startswith(magic) or magic.startswith(head[: len(magic)])):
        return
    if detected == "zstd" and wanted == "zstd":
        return
    raise InputError(
        f"{found.path} has the ending of a {wanted} file, but contains {detected or 'another format'}; "
        "correct its name or compress it again"
    )


def _check_one_document_a_line(found: FoundFile) -> None:
    try:
        first = next(iter(decompressed(file_blocks(found.path), found.compression)), b"")
    except BrokenInputError:
        return
    first, *others = (line.strip() for line in first.lstrip(b"\xef\xbb\xbf \t\r\n").split(b"\n"))
    following = next((line for line in others if line), b"")
    # the lines of one object over several: the first one is open, and the next one begins none
    is_object = first.startswith(b"{") and not first.endswith(b"}") and not following.startswith(b"{")
    if not first.startswith(b"[") and not (is_object and following):
        return
    form = "one JSON list" if first.startswith(b"[") else "one JSON object over several lines"
    raise InputError(
        f"{found.path} is {form}, expected one object per line (JSON Lines). Convert it "
        f"with: {_conversion(found, '.[]' if first.startswith(b'[') else '.')} , then give the new file"
    )


def _conversion(found: FoundFile, query: str) -> str:
    """A command that writes a document of JSON as JSON Lines, to be copied into a shell."""
    path = found.path
    lines = f"jq -c {shlex.quote(query)}"
    new = path.lower().removesuffix(ENDINGS.get(found.compression, "")).removesuffix(".json")
    target = shlex.quote(f"{path[: len(new)]}.jsonl")
    if is_url(path):
        return f"{lines} FILE.json > FILE.jsonl"
    if found.compression == "none":
        return f"{lines} {shlex.quote(path)} > {target}"
    tool = {"gzip": "gzip", "zstd": "zstd", "bz2": "bzip2"}[found.compression]
    return f"{tool} -dc {shlex.quote(path)} | {lines} > {target}"


def _check_parquet_columns(
    found: FoundFile,
    columns: Sequence[str],
    shapes: Shapes,
    id_column: str | None,
    read: Alternatives | None,
) -> None:
    try:
        with reading(found.path), open_place(found.path) as handle:
            file = open_parquet(handle, found.path)
            names = top_level_names(file)
            with damage():
                schema = file.schema_arrow
    except BrokenInputError:
        return  # reading it makes a reject
    missing = [column for column in columns if column not in names]
    if missing:
        raise InputError(
            f"{found.path} has no column {missing[0]!r} (its columns: {', '.join(names)}); give the "
            "right column with --id-column or column:NAME"
        )
    if shapes and not any(set(shape) <= set(names) for shape in shapes):
        raise _without_text(found, shapes, names, read)
    _check_id_type(schema, id_column, found.path)


def _without_text(
    found: FoundFile, shapes: Shapes, names: Sequence[str], read: Alternatives | None
) -> InputError:
    """The error for a Parquet file without columns for a text."""
    if len(shapes) == 1:
        absent = next(name for name in shapes[0] if name not in names)
        wanted = f"column {absent!r}"
    else:
        wanted = f"columns {' or '.join(' and '.join(shape) for shape in shapes)}"
    return InputError(
        f"{found.path} has no {wanted} (its columns: {', '.join(names)}); {text_flag(names, read=read)}"
    )


def check_id_type(found: FoundFile, id_column: str) -> None:
    """Returns if a file is no Parquet file, is damaged, or has ids of a type with exact text.

    Raises:
        InputError: If it has others.
    """
    if found.format != "parquet":
        return
    try:
        with reading(found.path), open_place(found.path) as handle:
            file = open_parquet(handle, found.path)
            with damage():
                schema = file.schema_arrow
    except BrokenInputError:
        return
    _check_id_type(schema, id_column, found.path)


def _check_id_type(schema: pa.Schema, id_column: str | None, path: str) -> None:
    if id_column is not None and schema.names.count(id_column) == 1:
        refuse_id_type(schema.field(id_column).type, column=id_column, path=path)
