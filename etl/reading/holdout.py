"""Holds documents out of a corpus, as evaluation items for people who bring none.

Documents are taken from every file alike, up to a limit of text; of each fifty one (by hash of its
id) goes to the items until there are enough. Where that gives too few, as of ten long files, the
ends of documents become items: at most a tenth of each. What is kept and what is held out are
disjoint.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from dmix.etl.publishing.rejects import Reject
from dmix.etl.reading.inspection import inspect_file
from dmix.etl.reading.records import Columns, Document, read_documents
from dmix.etl.reading.sources import find_files
from dmix.etl.spark.tasks import Meter
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes

Record = dict[str, str]

_ONE_IN = 50
_ITEM_CHARACTERS = 600
_MIN_ITEM_CHARACTERS = 80
# With fewer items than this a score is mostly chance; then the ends of documents serve as well.
_FEWEST_ITEMS = 30
_TAKEN_OF_AN_END = 0.1
_MAX_DOCUMENT_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """What became of the documents of a field.

    Attributes:
        kept: Documents written as text to train on.
        items: Evaluation items written: beginnings of documents, or passages from their ends.
        left_out: Documents beyond the limit of text; reading stops there, so it is a lower bound.
        rejected: Documents that could not be read, by reason.
    """

    kept: int
    items: int
    left_out: int
    rejected: Mapping[str, int]


def hold_out(
    given: Sequence[str],
    *,
    corpus: Path,
    items: Path,
    num_items: int,
    limit_bytes: int,
    text_column: str = "text",
) -> HeldOut:
    """Splits what files hold into a corpus and evaluation items of the continuation form.

    Args:
        given: Files, folders and globs, as `etl classify` takes them.
        corpus: JSON Lines file for the documents to train on.
        items: JSON Lines file for the items, `{"id", "text"}`.
        num_items: Most items to hold out.
        limit_bytes: Most text to take, in UTF-8 bytes; each file gives an equal share at most.
        text_column: Column of the text in JSON Lines and Parquet.

    Raises:
        NotFoundError: If a path does not exist.
        InputError: If nothing is left to train on.
    """
    files = find_files(given).files
    kept: list[Record] = []
    held: list[Record] = []
    rejected: Counter[str] = Counter()
    left_out = 0
    quota = -(-num_items // len(files))
    for file in files:
        source = inspect_file(file, columns=(text_column,))
        columns = Columns(text=text_column, id=None, others=())
        found = read_documents(
            source, columns=columns, max_document_bytes=_MAX_DOCUMENT_BYTES, meter=Meter(None)
        )
        held_here, size_bytes = 0, 0
        for document in found:
            if isinstance(document, Reject):
                rejected[document.reason] += 1
            elif size_bytes > limit_bytes // len(files):
                left_out += 1
                break
            elif held_here < quota and _is_item(document):
                held_here += 1
                held.append({"id": document.id, "text": _excerpt(document.text)})
            else:
                size_bytes += document.size_bytes
                kept.append({"id": document.id, "text": document.text})
    held = held[:num_items]
    wanted = min(num_items, _FEWEST_ITEMS)
    if len(held) < wanted and kept:
        kept, ends = _without_ends(kept, wanted=wanted - len(held))
        held += ends
    if not kept or not held:
        raise InputError(
            f"{', '.join(given)}: {len(kept)} documents to train on and {len(held)} to evaluate on; give more"
            f" text (one document in {_ONE_IN} is held out, or the end of one longer than"
            f" {_MIN_ITEM_CHARACTERS / _TAKEN_OF_AN_END:,.0f} characters)"
        )
    publish_bytes(items, b"".join(map(_line, held)))
    publish_bytes(corpus, b"".join(map(_line, kept)))
    return HeldOut(kept=len(kept), items=len(held), left_out=left_out, rejected=dict(rejected))


def field_folders(folder: Path) -> dict[str, list[str]]:
    """Sub-folders of a data folder by field: `source*` and `target*`.

    Raises:
        InputError: If one of the fields has none.
    """
    found = {field: sorted(str(path) for path in _folders(folder, field)) for field in ("source", "target")}
    for field, paths in found.items():
        if not paths:
            raise InputError(
                f"{folder} has no sub-folder '{field}'; put the text of the two fields into 'source' and"
                " 'target'"
            )
    return found


def _folders(folder: Path, field: str) -> Iterator[Path]:
    return (path for path in folder.glob(f"{field}*") if path.is_dir())


def _is_item(document: Document) -> bool:
    chosen = int.from_bytes(sha256(document.id.encode()).digest()[:4], "big") % _ONE_IN == 0
    return chosen and len(document.text) >= _MIN_ITEM_CHARACTERS


def _without_ends(kept: Sequence[Record], *, wanted: int) -> tuple[list[Record], list[Record]]:
    """Documents without their ends, and up to `wanted` items made of these, an equal share of each."""
    shorter: list[Record] = []
    items: list[Record] = []
    for index, record in enumerate(kept):
        share = -(-(wanted - len(items)) // (len(kept) - index))
        text, passages = split_end(record["text"], most=share)
        shorter.append({**record, "text": text})
        items += [{"id": f"{record['id']}-end{i}", "text": passage} for i, passage in enumerate(passages)]
    return shorter, items


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


def _excerpt(text: str) -> str:
    """The beginning of a text, cut at white space."""
    if len(text) <= _ITEM_CHARACTERS:
        return text
    words = text[:_ITEM_CHARACTERS].rsplit(maxsplit=1)
    return words[0] if words else text[:_ITEM_CHARACTERS]


def _line(record: Mapping[str, str]) -> bytes:
    return json.dumps(record, ensure_ascii=False).encode() + b"\n"
