"""A document of an input, what is read of a record for it, and why a record gives none.

Each way of reading, by lines, rows or whole files, ends in `document_or_reject`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from dmix.etl.publishing.rejects import PREFIX_CHARACTERS, Reject, prefix_of
from dmix.etl.reading.exact_ids import id_of_number
from dmix.etl.templates.alternatives import Alternatives
from dmix.etl.templates.conversations import Refusal, kind_of
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import Template, template_of

DEFAULT_ID_COLUMN = "id"


class Document(NamedTuple):
    """One document.

    Attributes:
        id: Its own, or a hash of input name and position.
        text: Not empty, encodable as UTF-8.
        size_bytes: UTF-8 bytes of the text.
        path: Name of the input.
        position: Place in the input, from 1.
        values: Raw values of `Columns.others`.
    """

    id: str
    text: str
    size_bytes: int
    path: str
    position: int
    values: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is read of a record.

    Attributes:
        text: Column of the text, if there is no template.
        id: Column of the id; None takes `id` where a document has one.
        others: Columns that the classifier looks at.
        template: What makes one text of several columns; None where one column holds it.
    """

    text: str
    id: str | None
    others: tuple[str, ...]
    template: Template | None = None

    @classmethod
    def of(cls, settings: TextSettings, *, id: str | None = None, others: tuple[str, ...] = ()) -> "Columns":
        """The columns that settings name.

        Raises:
            InputError: If the template cannot be used.
            NotFoundError: If it is that of a checkpoint which does not exist.
        """
        template = template_of(settings)
        return cls(text=settings.text_column[0], id=id, others=others, template=template)

    @property
    def texts(self) -> tuple[str, ...]:
        """Columns that the text may come from."""
        return (self.text,) if self.template is None else self.template.columns

    @property
    def text_shapes(self) -> tuple[tuple[str, ...], ...]:
        """Columns that a Parquet file needs for a text: all of one of these."""
        return ((self.text,),) if self.template is None else self.template.shapes

    @property
    def alternatives(self) -> Alternatives | None:
        """What is tried on a record; None where a template reads all of several columns."""
        return Alternatives(None, (self.text,)) if self.template is None else self.template.alternatives

    @property
    def id_or_default(self) -> str:
        return self.id or DEFAULT_ID_COLUMN

    @property
    def required(self) -> tuple[str, ...]:
        """Columns that a Parquet file needs beside those of the text."""
        return (*((self.id,) if self.id else ()), *self.others)

    @property
    def identity(self) -> list[object]:
        """What documents depend on, as plain values."""
        template = None if self.template is None else self.template.identity
        return [self.text, self.id, self.others, template]


def document_id(value: object, path: str, position: int) -> str:
    """The id of a document: its own if that is text or a number, else a hash of its place."""
    known = id_of_number(value)
    if isinstance(known, str) and known and encodes(known):
        return known
    return sha256(f"{path}\0{position}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def utf8_size(text: str) -> int:
    """UTF-8 bytes of a text."""
    return len(text) if text.isascii() else len(text.encode())


def templated_text(record: Mapping[str, object], columns: Columns, max_bytes: int) -> str | Refusal:
    """The text that the template makes of a record, or why there is none."""
    assert columns.template is not None
    text = columns.template.text_of(record)
    if isinstance(text, Refusal):
        return text
    if not encodes(text):
        return Refusal("invalid_utf8", "half a surrogate pair")
    size_bytes = utf8_size(text)
    return text if size_bytes <= max_bytes else too_long(size_bytes, max_bytes)


def encodes(value: object) -> bool:
    """True unless a value is text that UTF-8 cannot express."""
    try:
        if isinstance(value, str):
            value.encode()
    except UnicodeEncodeError:
        return False
    return True


def document_or_reject(
    text: object,
    *,
    path: str,
    position: int,
    columns: Columns,
    id_value: object = None,
    values: tuple[object, ...],
    stored: object,
) -> Document | Reject:
    """The document with this text, or why there is none; `stored` is what a reject shows of it."""
    if isinstance(text, str) and text and not text.isspace():
        read = ((columns.id, id_value), *zip(columns.others, values, strict=True))
        wrong = [name for name, value in read if name is not None and not encodes(value)]
        if wrong:
            reason, detail = "invalid_utf8", f"column {wrong[0]!r} is no UTF-8"
        elif columns.id is None or isinstance(id_of_number(id_value), str | None):
            own_id = document_id(id_value, path, position)
            return Document(own_id, text, utf8_size(text), path, position, values)
        else:
            reason, detail = "id_not_text", f"column {columns.id!r} contains {kind_of(id_value)}"
    elif isinstance(text, Refusal):
        reason, detail = text
    elif text is None:
        reason, detail = "missing_text", f"no text in column {columns.text!r}"
    elif isinstance(text, str):
        reason, detail = "empty_text", f"{len(text)} characters of white space"
    else:
        reason, detail = "text_not_string", f"column {columns.text!r} contains {kind_of(text)}"
    prefix = prefix_of(stored) if isinstance(stored, bytes) else str(stored)[:PREFIX_CHARACTERS]
    return Reject(path, position, reason, detail, prefix)


def decoded_text(stored: bytes, path: str, position: int) -> str | Reject:
    """Stored bytes as text, or why they are none."""
    try:
        return stored.decode()
    except UnicodeDecodeError as error:
        detail = f"byte {error.start} of the text: {error.reason}"
        return Reject(path, position, "invalid_utf8", detail, prefix_of(stored))


def too_long(size_bytes: int, max_bytes: int) -> Refusal:
    """Why a document of this size is not taken."""
    return Refusal(
        "too_long", f"the document has {size_bytes} bytes, and --max-document-bytes is {max_bytes}"
    )
