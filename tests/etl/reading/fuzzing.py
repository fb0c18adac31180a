"""Mutated inputs, and what an independent reader finds in them.

What must hold of every input: reading raises nothing; each row that the independent reader finds is a
label or a reject, and what is text there is that text here; or the whole file is refused by one reject.
"""

import contextlib
import decimal
import faulthandler
import io
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dmix.etl.publishing.rejects import REASONS, Reject
from dmix.etl.reading.documents import Columns
from dmix.etl.reading.inspection import inspect_and_cut
from dmix.etl.reading.records import read_documents, read_piece
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.in_child import in_child
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError

COLUMNS = Columns(text="text", id=None, others=("label",))
LIMIT = 1 << 20
WHOLE_FILE = ("damaged_input", "truncated_input", "ambiguous_columns", "worker_died")
FRAGMENTS = (
    b'{"text": "a", "id": 5}',
    b'{"text": "a", "title": "\\ud800"}',
    b'{"text": "a", "title": "\xff"}',
    b'{"text": "\\udc00", "id": 1e400}',
    b'{"id": 123456789012345678901234567890, "text": "b"}',
    b'{"text": NaN}',
    b'{"text": "a", "n": -Infinity}',
    b"[" * 2000,
    b'{"text": "a", "text": "b"}',
    b"\xef\xbb\xbf",
    b"\r",
    b"\0",
    b"  \t",
    b"\x85\xa0",
    b'{"text": "\xe2\x80\xa8"}',
)


def lines_case(rng: np.random.Generator) -> bytes:
    """The bytes of a JSON Lines file, mutated."""
    lines = []
    for number in range(int(rng.integers(0, 8))):
        if rng.random() < 0.4:
            lines.append(FRAGMENTS[int(rng.integers(len(FRAGMENTS)))])
        else:
            record = {"text": f"text {number} é", "id": number, "label": None, "more": [{}, 1.5, "x"]}
            lines.append(json.dumps(record, ensure_ascii=bool(rng.random() < 0.5)).encode())
    return mutated(b"\n".join(lines) + b"\n" * int(rng.integers(0, 2)), rng)


def parquet_case(rng: np.random.Generator) -> bytes:
    """The bytes of a Parquet file, mutated, its footer more often than its pages."""
    rows = int(rng.integers(0, 12))
    texts = [None if rng.random() < 0.1 else f"text {i} é" * int(rng.integers(0, 4)) for i in range(rows)]
    columns = {"text": pa.array(texts, pa.string()), "label": pa.array([f"l{i % 2}" for i in range(rows)])}
    extra = {
        "id": pa.array(range(rows), pa.int64()),
        "when": pa.array([2**62 + i for i in range(rows)], pa.timestamp("us")),
        "id ": pa.array([decimal.Decimal(i) for i in range(rows)], pa.decimal128(20, 2)),
        "nested": pa.array([{"text": i} for i in range(rows)], pa.struct({"text": pa.int64()})),
        "list": pa.array([["a"] * i for i in range(rows)], pa.list_(pa.string())),
        "kind": pa.array(["a"] * rows, pa.string()).dictionary_encode(),
    }
    for name, column in extra.items():
        if rng.random() < 0.3:
            columns[name] = column
    table = pa.table(columns)
    if rng.random() < 0.1 and rows:
        table = table.append_column(str(rng.choice(["text", "label", "when"])), columns["label"])
    if rng.random() < 0.1:
        table = table.set_column(0, "text", table.column(0).cast(pa.large_string()))
    stream = io.BytesIO()
    pq.write_table(
        table,
        stream,
        row_group_size=int(rng.integers(1, 8)),
        compression=str(rng.choice(["none", "snappy", "zstd"])),
        use_dictionary=bool(rng.random() < 0.5),
        data_page_version=str(rng.choice(["1.0", "2.0"])),
    )
    content = stream.getvalue()
    footer = int.from_bytes(content[-8:-4], "little") + 8
    if rng.random() < 0.6:
        return content[:-footer] + mutated(content[-footer:], rng)
    return mutated(content, rng)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, cut off, doubled or put in; or none."""
    new = bytearray(content)
    for _ in range(int(rng.integers(0, 4))):
        if not new:
            break
        place, kind = int(rng.integers(len(new))), rng.random()
        if kind < 0.6:
            new[place] = int(rng.integers(256))
        elif kind < 0.7:
            del new[place : place + int(rng.integers(1, 40))]
        elif kind < 0.8:
            new[place:place] = new[place : place + int(rng.integers(1, 40))]
        elif kind < 0.9:
            new[place:place] = FRAGMENTS[int(rng.integers(len(FRAGMENTS)))]
        else:
            del new[place:]
    return bytes(new)


def entries_of(path: Path, *, piece_bytes: int | None) -> list:
    """All documents and rejects of a file, whole or in pieces; none if it is refused with a sentence."""
    try:
        found = inspect_and_cut(find_files([str(path)]).files[0], columns=("text",), piece_bytes=piece_bytes)
    except InputError:
        return []
    options = {"columns": COLUMNS, "max_document_bytes": LIMIT, "meter": Meter(None)}
    if not found.pieces:
        return list(read_documents(found.source, **options))
    return [entry for piece in found.pieces for entry in read_piece(found.source, piece, **options)]


def lines_found(content: bytes) -> list[str | None]:
    """An independent reading: for each line that is not blank, its text, or None where that is less clear."""
    found = []
    for number, line in enumerate(content.split(b"\n")):
        stripped = (line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line).strip()
        if not stripped:
            continue
        text = None
        with contextlib.suppress(ValueError, RecursionError, TypeError):
            record = json.loads(stripped.decode())
            label = record.get("label") if isinstance(record, dict) else None
            if (
                isinstance(record, dict)
                and isinstance(record.get("text"), str)
                and not isinstance(label, str)
            ):
                record["text"].encode()
                text = record["text"] if record["text"].strip() else None
        found.append(text)
    return found


def rows_found(path: Path) -> list[str | None] | None:
    """An independent reading: the text of each row, None where it is none; None if it cannot be read."""
    try:
        table = pq.ParquetFile(path).read()
        if table.schema.names.count("text") != 1:
            return None
        column = table.column("text")
        table.validate(full=True)
        kind = column.type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return [None] * len(column)
        return [text if text and text.strip() else None for text in column.to_pylist()]
    except Exception:
        return None


def check_lines(path: Path, rng: np.random.Generator) -> dict[str, int]:
    """Writes, reads and checks a JSON Lines file; returns what was found."""
    content = lines_case(rng)
    path.write_bytes(content)
    piece_bytes = None if rng.random() < 0.5 else int(rng.integers(20, 200))
    entries = entries_of(path, piece_bytes=piece_bytes)
    if not entries and path.suffix == ".jsonl" and content.startswith((b"PAR1", b"\x1f\x8b")):
        return {"refused": 1}
    expected = lines_found(content)
    assert len(entries) == len(expected), (content, entries)
    for entry, text in zip(entries, expected, strict=True):
        assert text is None or (not isinstance(entry, Reject) and entry.text == text), (content, entry)
    return _counted(entries)


def check_parquet(path: Path, rng: np.random.Generator) -> dict[str, int]:
    """Writes, reads and checks a Parquet file; returns what was found."""
    content = parquet_case(rng)
    path.write_bytes(content)
    piece_bytes = None if rng.random() < 0.7 else int(rng.integers(20, 200))
    entries = entries_of(path, piece_bytes=piece_bytes)
    expected = rows_found(path)
    if expected is not None and entries and piece_bytes is None:
        whole = len(entries) == 1 and isinstance(entries[0], Reject) and entries[0].reason in WHOLE_FILE
        assert whole or len(entries) == len(expected), (content, entries, expected)
        for entry, text in zip(entries, expected, strict=False):
            assert whole or text is None or isinstance(entry, Reject) or entry.text == text, (content, entry)
    return _counted(entries)


def _counted(entries: list) -> dict[str, int]:
    counts = {"documents": 0, "refused": 0 if entries else 1}
    for entry in entries:
        name = entry.reason if isinstance(entry, Reject) else "documents"
        assert name == "documents" or name in REASONS
        counts[name] = counts.get(name, 0) + 1
    return counts


def run(check, suffix: str, folder: Path, *, first: int, count: int) -> dict[str, int]:
    """Checks `count` inputs of seeds from `first` on; returns what was found in all of them.

    The work is done in a child, since Arrow aborts on some files. The seed that ends one is counted (a
    job tries such a file alone, and makes one reject of it), and the next child goes on behind it.
    """
    rows = folder / "rows"
    rows.write_text("")

    def work() -> None:
        faulthandler.disable()
        with rows.open("a") as file:
            for seed in range(first + done, first + count):
                try:
                    counts = check(folder / f"case{suffix}", np.random.default_rng(seed))
                except Exception as error:
                    said = f"seed {seed}: {type(error).__name__}: {str(error)[:2000]}"
                    raise AssertionError(said) from error
                print(json.dumps(counts), file=file, flush=True)

    total: Counter[str] = Counter()
    done = 0
    while done < count:
        ended = in_child(work)
        if ended.error is not None:
            raise ended.error
        done = len(rows.read_text().splitlines())
        if ended.crashed:
            with rows.open("a") as file:
                print(json.dumps({"worker_died": 1}), file=file)
            done += 1
    for line in rows.read_text().splitlines():
        total.update(json.loads(line))
    return dict(total)
