"""Holds documents out of a corpus, as evaluation items for people who bring none.

One document in fifty, by hash of its id, becomes a feedback item, and another one in fifty a
judging item, so no document gives both. `draw_items` reads until it has enough and copies nothing:
`dmix etl shard --environment` later leaves those documents out of the training text. `hold_out` also
writes the remaining documents, up to a limit of text, each with its origin, and beside them the records
that could not be read, so that `etl classify` counts these as rejects. Where one in fifty gives too few
items, as with ten long files, `hold_out` cuts the ends of documents off: at most a tenth of each.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

from dmix.etl.publishing.copied import NOT_READ, copied_document, copied_reject
from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading.documents import Columns, Document
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import read_documents
from dmix.etl.reading.sources import FoundFile, find_files
from dmix.etl.spark.tasks import Meter
from dmix.etl.templates.settings import PLAIN_TEXT
from dmix.etl.templates.unread import Unread
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes, written_together
from dmix.warehouse_schema.sizes import num_text
from dmix.warehouse_schema.text_files import excerpt

Record = dict[str, Any]

FEEDBACK, JUDGING = 0, 1
KINDS = (FEEDBACK, JUDGING)

_ONE_IN = 50
_ITEM_CHARACTERS = 600
_MIN_ITEM_CHARACTERS = 80
# With fewer items than this a score is mostly chance; then the ends of documents serve as well.
FEWEST_ITEMS = 30
_TAKEN_OF_AN_END = 0.1
_MAX_DOCUMENT_BYTES = 16 * 2**20
# What gzip and zstd make of English text.
_COMPRESSED = 3.0
PLAIN = Columns.of(PLAIN_TEXT)


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What became of the documents of a field.

    Attributes:
        kept: Documents written as text to train on.
        items: Feedback items written: beginnings of documents, or passages from their ends.
        judging: Judging items written, of other documents.
        left_out: Documents beyond the limit of text; reading stops there, so it is a lower bound.
        size_bytes: UTF-8 bytes of the text to train on.
        whole: Documents that became items as a whole; the other items are ends of documents.
        rejected: Documents that could not be read, by reason.
        rejects: The first of these documents, with file and place.
        not_read: Lines about them, one for each file and kind.
        other_columns: Columns of records that lack a text, of each kind.
        item_characters: Characters of the feedback items.
    """

    kept: int
    items: int
    judging: int
    left_out: int
    size_bytes: int
    whole: int
    rejected: Mapping[str, int]
    rejects: tuple[Reject, ...] = ()
    not_read: tuple[str, ...] = ()
    other_columns: tuple[tuple[str, ...], ...] = ()
    item_characters: int = 0


def hold_out(
    given: Sequence[str],
    *,
    corpus: Path,
    items: Path,
    judging: Path | None = None,
    num_items: int,
    limit_bytes: int,
    columns: Columns = PLAIN,
    dry_run: bool = False,
) -> HeldOut:
    """Splits what files hold into a corpus and evaluation items of the continuation form.

    Args:
        given: Files, folders and globs, as `etl classify` takes them.
        corpus: JSON Lines file for the documents to train on; `not-read.jsonl` beside it is for the records
            that could not be read, if there are any.
        items: JSON Lines file for the feedback items, `{"id", "text"}`.
        judging: The same for judging items; no documents are held out for them if None.
        num_items: Most items of each kind to hold out.
        limit_bytes: Most text to take, in UTF-8 bytes; each file gives an equal share at most.
        columns: Where the text is in JSON Lines and Parquet.
        dry_run: Read and count, and write nothing.

    Raises:
        NotFoundError: If a path does not exist.
        InputError: If nothing is left to train on.
    """
    kinds = KINDS if judging is not None else (FEEDBACK,)
    with _written_corpus(corpus, dry_run=dry_run) as (documents, not_read):
        kept, held, whole, left_out, unread = _split(
            given,
            kinds=kinds,
            num_items=num_items,
            limit_bytes=limit_bytes,
            columns=columns,
            not_read=not_read,
        )
        if documents is not None:
            write_items(items, held[FEEDBACK])
            if judging is not None:
                write_items(judging, held[JUDGING])
            documents.writelines(map(_line, kept))
    return HeldOut(
        kept=len(kept),
        items=len(held[FEEDBACK]),
        judging=len(held.get(JUDGING, ())),
        left_out=left_out,
        size_bytes=sum(len(record["text"].encode()) for record in kept),
        whole=whole,
        rejected=dict(unread.counts),
        rejects=tuple(unread.rejects),
        not_read=unread.lines(others_read=bool(kept)),
        other_columns=unread.other_columns,
        item_characters=sum(len(item["text"]) for item in held[FEEDBACK]),
    )


@contextmanager
def _written_corpus(corpus: Path, *, dry_run: bool) -> Iterator[tuple[BinaryIO | None, BinaryIO | None]]:
    """Files for the documents and for what could not be read, which appear together; None in a dry run."""
    if dry_run:
        yield None, None
        return
    with written_together(corpus.parent) as folder:
        not_read = folder / NOT_READ
        with open(folder / corpus.name, "wb") as documents, open(not_read, "wb") as rejects:
            yield documents, rejects
        if not not_read.stat().st_size:
            not_read.unlink()
            (corpus.parent / NOT_READ).unlink(missing_ok=True)


def _split(
    given: Sequence[str],
    *,
    kinds: Sequence[int],
    num_items: int,
    limit_bytes: int,
    columns: Columns,
    not_read: BinaryIO | None,
) -> tuple[list[Record], dict[int, list[Record]], int, int, Unread]:
    """Documents, items of each kind, how many of these are whole documents, documents left out, and rejects.

    Raises:
        InputError: If nothing is left to train on.
    """
    files = find_files(given).files
    kept: list[Record] = []
    held: dict[int, list[Record]] = {kind: [] for kind in kinds}
    unread = Unread(read=columns.alternatives)
    left_out = 0
    for number, file in enumerate(files):
        wanted = _wanted(held, num_items, files=len(files) - number)
        size_bytes = 0
        for document in _documents(file, columns):
            if isinstance(document, Reject):
                unread.add(document)
                if not_read is not None:
                    not_read.write(_line(copied_reject(document)))
                continue
            kind = _item_kind(document)
            if size_bytes > limit_bytes // len(files):
                left_out += 1
                break
            if kind is not None and wanted.get(kind):
                wanted[kind] -= 1
                held[kind].append(_item(document))
            else:
                size_bytes += document.size_bytes
                path, position = document.path, document.position
                kept.append(copied_document(document.id, document.text, path=path, position=position))
    whole = sum(map(len, held.values()))
    for kind in kinds:
        missing = min(num_items, FEWEST_ITEMS) - len(held[kind])
        if missing > 0 and kept:
            kept, ends = _without_ends(kept, wanted=missing, kind=kind, kinds=len(kinds))
            held[kind] += ends
    if not kept or not all(held.values()):
        raise _too_few(given, kept, held, unread)
    return kept, held, whole, left_out, unread


def _wanted(held: Mapping[int, Sequence[Record]], num_items: int, *, files: int) -> dict[int, int]:
    """Items of each kind that the next of some remaining files gives: its share of those still missing."""
    return {kind: -(-(num_items - len(found)) // files) for kind, found in held.items()}


def _too_few(
    given: Sequence[str], kept: Sequence[Record], held: Mapping[int, Sequence[Record]], unread: Unread
) -> InputError:
    """The error for text that gives nothing to train on, or no items."""
    few = (
        f"{', '.join(given)} has only {num_text(len(kept), 'document')} for training and "
        f"{min(map(len, held.values()))} for evaluation"
    )
    lines = unread.lines(others_read=bool(kept))
    if lines:
        return InputError("\n- ".join([f"{few}. dmix could not read these records:", *lines]))
    return InputError(
        f"{few}; give more text. dmix holds out one document in {_ONE_IN}, or the end of a document longer "
        f"than {_MIN_ITEM_CHARACTERS / _TAKEN_OF_AN_END:,.0f} characters"
    )


@dataclass(frozen=True, kw_only=True)
class DrawnItems:
    """Items of a field whose documents stay where they are.

    Attributes:
        feedback: Feedback items, `{"id", "text"}`.
        judging: Judging items, of other documents.
        documents: Documents read to find them.
        size_bytes: UTF-8 bytes of the text of all files. Files that were read to their end give the
            exact number; dmix estimates the others by their size and the share of readable records.
        rejected: Records that could not be read, by reason.
        rejects: The first of these records, with file and place.
        not_read: Lines about them, one for each file and kind.
        other_columns: Columns of records that lack a text, of each kind.
    """

    feedback: tuple[Record, ...]
    judging: tuple[Record, ...]
    documents: int
    size_bytes: int
    rejected: Mapping[str, int]
    rejects: tuple[Reject, ...] = ()
    not_read: tuple[str, ...] = ()
    other_columns: tuple[tuple[str, ...], ...] = ()

    @property
    def enough(self) -> bool:
        """Whether both kinds have as many items as a score needs."""
        return min(len(self.feedback), len(self.judging)) >= FEWEST_ITEMS


def draw_items(given: Sequence[str], *, num_items: int, columns: Columns = PLAIN) -> DrawnItems:
    """Evaluation items of the continuation form from files, which are read until there are enough.

    Files are read in an order by hash of their names, each until it has given its equal share.

    Args:
        given: Files, folders and globs, as `etl classify` takes them.
        num_items: Most items of each kind.
        columns: Where the text is in JSON Lines and Parquet.

    Raises:
        NotFoundError: If a path does not exist.
    """
    files = sorted(find_files(given).files, key=lambda file: sha256(file.name.encode()).digest())
    held: dict[int, list[Record]] = {kind: [] for kind in KINDS}
    unread = Unread(read=columns.alternatives)
    documents = exact_bytes = 0
    estimated_bytes = 0.0
    for number, file in enumerate(files):
        wanted = _wanted(held, num_items, files=len(files) - number)
        ended, file_bytes = any(wanted.values()), 0
        for document in _documents(file, columns) if any(wanted.values()) else ():
            if isinstance(document, Reject):
                unread.add(document)
                continue
            documents += 1
            file_bytes += len(document.text.encode())
            kind = _item_kind(document)
            if kind is not None and wanted[kind]:
                wanted[kind] -= 1
                held[kind].append(_item(document))
                if not any(wanted.values()):
                    ended = False
                    break
        if ended:
            exact_bytes += file_bytes
        else:
            estimated_bytes += file.size_bytes * (1 if file.compression == "none" else _COMPRESSED)
    readable = documents / max(1, documents + unread.counts.total())
    return DrawnItems(
        feedback=tuple(held[FEEDBACK]),
        judging=tuple(held[JUDGING]),
        documents=documents,
        size_bytes=exact_bytes + round(estimated_bytes * readable),
        rejected=dict(unread.counts),
        rejects=tuple(unread.rejects),
        not_read=unread.lines(others_read=documents > 0),
        other_columns=unread.other_columns,
    )


def write_items(path: Path, items: Sequence[Record]) -> None:
    """Publishes items or documents as JSON Lines."""
    publish_bytes(path, b"".join(map(_line, items)))


def field_folders(folder: Path) -> dict[str, list[str]]:
    """Sub-folders of a data folder by field: `source*` and `target*`.

    Raises:
        InputError: If one of the fields has none, or both have the same one.
    """
    found = {field: sorted(str(path) for path in _folders(folder, field)) for field in ("source", "target")}
    for field, paths in found.items():
        if not paths:
            raise InputError(
                f"{folder} has no sub-folder '{field}'; put the text of the two fields into 'source' and"
                " 'target'"
            )
    real = {field: {Path(path).resolve() for path in paths} for field, paths in found.items()}
    for shared in real["source"] & real["target"]:
        raise InputError(f"{folder}: both fields have the folder {shared}; use other folders for one of them")
    return found


def _folders(folder: Path, field: str) -> Iterator[Path]:
    return (path for path in folder.glob(f"{field}*") if path.is_dir())


def _documents(file: FoundFile, columns: Columns) -> Iterator[Document | Reject]:
    source = inspect_file(
        file, columns=columns.required, shapes=columns.text_shapes, read=columns.alternatives
    )
    return read_documents(source, columns=columns, max_document_bytes=_MAX_DOCUMENT_BYTES, meter=Meter(None))


def _item_kind(document: Document) -> int | None:
    """`FEEDBACK`, `JUDGING`, or None for a document to train on."""
    drawn = int.from_bytes(sha256(document.id.encode()).digest()[:4], "big") % _ONE_IN
    return drawn if drawn in KINDS and len(document.text) >= _MIN_ITEM_CHARACTERS else None


def _item(document: Document) -> Record:
    return {"id": document.id, "text": excerpt(document.text, _ITEM_CHARACTERS)}


def _without_ends(
    kept: Sequence[Record], *, wanted: int, kind: int, kinds: int
) -> tuple[list[Record], list[Record]]:
    """Documents without their ends, and up to `wanted` items made of these, an equal share of each.

    With several kinds of items, every kind takes the ends of documents of its own.
    """
    shorter = list(kept)
    items: dict[int, list[Record]] = {}
    # short documents first, so that longer ones make up for what these cannot spare
    own = sorted(range(kind, len(kept), kinds), key=lambda index: len(kept[index]["text"]))
    missing = wanted
    for done, index in enumerate(own):
        record = kept[index]
        text, passages = split_end(record["text"], most=-(-missing // (len(own) - done)))
        missing -= len(passages)
        shorter[index] = {**record, "text": text}
        items[index] = [
            {"id": f"{record['id']}-end{i}", "text": passage} for i, passage in enumerate(passages)
        ]
    return shorter, [item for index in sorted(items) for item in items[index]]


def split_end(text: str, *, most: int) -> tuple[str, list[str]]:
    """A text without its end, and the end as passages of item size; together at most a tenth of it.

    Args:
        text: The text; one too short to spare a passage comes back whole.
        most: Largest number of passages.

    Returns:
        The beginning, and the passages in the order of the text; cuts lie at white space, which is lost.
    """
    spare = int(len(text) * _TAKEN_OF_AN_END)
    count = min(most, max(1, spare // _ITEM_CHARACTERS)) if spare >= _MIN_ITEM_CHARACTERS else 0
    size = min(_ITEM_CHARACTERS, spare)
    passages: list[str] = []
    for _ in range(count):
        start = next((i for i in range(len(text) - size, len(text)) if text[i].isspace()), len(text) - size)
        passage, text = text[start:].strip(), text[:start].rstrip()
        if len(passage) >= _MIN_ITEM_CHARACTERS:
            passages.insert(0, passage)
    return text, passages


def _line(record: Mapping[str, Any]) -> bytes:
    # what a reject shows of a file may be no UTF-8
    return json.dumps(record, ensure_ascii=False).encode(errors="replace") + b"\n"
