r"""Templates: a record becomes one text, or is refused with a reason.

| `--template` | text |
|---|---|
| `chat` | messages or a pair as `User: …`, a blank line, `Assistant: …` |
| `instruction` | question, context and answer, with blank lines between them |
| `model:PATH` | messages or a pair, as the chat template of a checkpoint writes them |
| `first:text,content` | the first of these columns that has a text |
| `chat,first:text,content` | as `chat`; of records without messages and pairs, the first of these columns |
| `'{title}\n\n{body}'` | columns in braces; null is an empty text |

Several `--text-column` are joined by blank lines; null is left out. A template is data: a frozen value
that travels to the workers, and whose `identity` is part of every fingerprint.
"""

import difflib
import functools
import shlex
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from dmix.etl.templates.alternatives import FIRST, Alternatives
from dmix.etl.templates.chat_model import MODEL, ModelTemplate, model_template
from dmix.etl.templates.conversations import (
    COLUMNS,
    CONVERSATIONS,
    PAIR_SHAPES,
    PLAIN,
    SHAPES,
    Refusal,
    missing,
    pair_of,
    text_in,
    turns_of,
    what_it_has,
)
from dmix.etl.templates.settings import TextSettings
from dmix.warehouse_schema.errors import InputError

NAMED = ("chat", "instruction")
_CHAT, _INSTRUCTION = map(Alternatives, NAMED)


class Template(Protocol):
    """What makes a text of a record."""

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        """Columns of a record: all of one of these must be there."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that may be read."""

    @property
    def identity(self) -> tuple[object, ...]:
        """What the texts depend on, as plain values."""

    @property
    def alternatives(self) -> Alternatives | None:
        """What is tried on a record; None where the template is of another form."""

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        """The text of a record, with white space at its ends, or why there is none."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """Messages, or a question and its answer, as lines of speakers."""

    shapes: tuple[tuple[str, ...], ...] = SHAPES
    columns: tuple[str, ...] = COLUMNS
    identity: tuple[object, ...] = ("chat", 1)
    alternatives: Alternatives = _CHAT

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        messages = turns_of(record)
        if isinstance(messages, Refusal | str):
            return messages
        return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """Question, context and answer, with blank lines between them."""

    shapes: tuple[tuple[str, ...], ...] = (*PAIR_SHAPES, (PLAIN,))
    columns: tuple[str, ...] = COLUMNS[len(CONVERSATIONS) :]
    identity: tuple[object, ...] = ("instruction", 1)
    alternatives: Alternatives = _INSTRUCTION

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        if record.get(PLAIN) is not None and not any(
            all(record.get(name) is not None for name in shape) for shape in PAIR_SHAPES
        ):
            return text_in(record[PLAIN], PLAIN)
        pair = pair_of(record)
        return pair if isinstance(pair, Refusal) else "\n\n".join(filter(None, pair))


@dataclass(frozen=True)
class First:
    """The first column that has a text, for records that call it by different names."""

    columns: tuple[str, ...]

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        return tuple((name,) for name in self.columns)

    @property
    def identity(self) -> tuple[object, ...]:
        return ("first", 1, *self.columns)

    @property
    def alternatives(self) -> Alternatives:
        return Alternatives(None, self.columns)

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        given = [name for name in self.columns if record.get(name) is not None]
        if not given:
            return missing(self.columns, record)
        for name in given:
            text = text_in(record[name], name)
            if isinstance(text, Refusal) or text.strip():
                return text if isinstance(text, Refusal) else text.strip()
        return Refusal("empty_text", f"column {given[0]!r} is empty")


@dataclass(frozen=True)
class Either:
    """A named template for records with its columns, and the first column with a text for all others.

    Attributes:
        head: The named template.
        others: The columns; `text` comes last if they do not name it, since every named template reads it.
    """

    head: Chat | Instruction | ModelTemplate
    others: First

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.head.columns, *self.others.columns)))

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        return tuple(dict.fromkeys((*self.head.shapes, *self.others.shapes)))

    @property
    def identity(self) -> tuple[object, ...]:
        return ("either", 1, self.head.identity, self.others.identity)

    @property
    def alternatives(self) -> Alternatives:
        return Alternatives(self.head.alternatives.head, self.others.columns)

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        shapes = (shape for shape in self.head.shapes if shape != (PLAIN,))
        if any(all(record.get(name) is not None for name in shape) for shape in shapes):
            return self.head.text_of(record)
        if all(record.get(name) is None for name in self.others.columns):
            return missing(self.columns, record)
        text = self.others.text_of(record)
        if isinstance(text, str) and isinstance(self.head, ModelTemplate):
            return self.head.plain(text)
        return text


@dataclass(frozen=True)
class Joined:
    """Columns joined by a blank line, those that are null or empty left out."""

    columns: tuple[str, ...]
    alternatives: None = None

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        return (self.columns,)

    @property
    def identity(self) -> tuple[object, ...]:
        return ("joined", 1, *self.columns)

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        texts = _texts(self.columns, record)
        if isinstance(texts, Refusal):
            return texts
        return "\n\n".join(text for text in (texts[name].strip() for name in self.columns) if text)


@dataclass(frozen=True)
class Pattern:
    """Text with columns in braces.

    Attributes:
        pieces: Literal text, and the column behind it; the last one may have none.
    """

    pieces: tuple[tuple[str, str | None], ...]
    alternatives: None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for _, name in self.pieces if name is not None))

    @property
    def shapes(self) -> tuple[tuple[str, ...], ...]:
        return (self.columns,)

    @property
    def identity(self) -> tuple[object, ...]:
        return ("pattern", 1, *self.pieces)

    def text_of(self, record: Mapping[str, object]) -> str | Refusal:
        texts = _texts(self.columns, record)
        if isinstance(texts, Refusal):
            return texts
        if not any(text.strip() for text in texts.values()):
            return ""  # the words of a template alone are no document
        return "".join(
            literal + ("" if name is None else texts[name]) for literal, name in self.pieces
        ).strip()


def template_of(settings: TextSettings) -> Template | None:
    """The template that settings name; None where the text is in one column.

    Raises:
        InputError: If there is no such template, or a checkpoint has none that works.
        NotFoundError: If there is no such checkpoint.
    """
    if settings.template is None:
        return Joined(settings.text_column) if len(settings.text_column) > 1 else None
    return _made(settings.template)


@functools.lru_cache(maxsize=8)
def _made(name: str) -> Template:
    first, comma, columns = name.partition(f",{FIRST}")
    head = _head(first)
    if head is not None:
        return Either(head, _first(f"{FIRST}{columns}", last=PLAIN)) if comma else head
    if name.startswith(FIRST):
        return _first(name)
    if "{" in name or "}" in name:
        return parsed(name)
    near = difflib.get_close_matches(first, NAMED, n=1)
    if near and "," not in first:
        hint = f"did you mean {near[0] + comma + columns!r}?"
    elif ":" in name and (near := difflib.get_close_matches(first.partition(":")[0], ("first", "model"))):
        hint = f"did you mean '{near[0]}:{name.partition(':')[2]}'?"
    elif "," in name:
        hint = f"to try several columns, write {FIRST}text,content or chat,{FIRST}text,content"
    else:
        hint = r"write columns in braces, such as '{title}\n\n{body}'"
    raise InputError(
        f"template {name!r} is unknown (available: {', '.join(NAMED)}, {MODEL}PATH, {FIRST}COLUMNS, and "
        f"chat,{FIRST}COLUMNS); {hint}"
    )


def _head(name: str) -> Chat | Instruction | ModelTemplate | None:
    """The template of a name that others may follow; None if it is no such name."""
    if name == "chat":
        return Chat()
    if name == "instruction":
        return Instruction()
    return model_template(name.removeprefix(MODEL)) if name.startswith(MODEL) else None


def _first(name: str, *, last: str | None = None) -> First:
    """The columns of a name, and one more behind them if it is not among them."""
    columns = tuple(column.strip() for column in name.removeprefix(FIRST).split(","))
    if "" in columns or len(set(columns)) < len(columns):
        raise InputError(
            f"template {name!r} needs different column names with commas between them, such as "
            f"{FIRST}text,content"
        )
    return First(columns if last is None or last in columns else (*columns, last))


def special_token_flags(settings: TextSettings) -> str:
    """Flags of `dmix etl shard` that keep the special tokens of a chat template; empty for others."""
    template = template_of(settings)
    template = template.head if isinstance(template, Either) else template
    written = template.written if isinstance(template, ModelTemplate) else ()
    return "".join(f" --special-token {shlex.quote(token)}" for token in written)


def parsed(text: str) -> Pattern:
    r"""A template of text with columns in braces; `\n` and `\t` are a new line and a tab.

    Raises:
        InputError: If it names no column, or braces do not match.
    """
    plain = text.replace("\\n", "\n").replace("\\t", "\t")
    try:
        found = list(string.Formatter().parse(plain))
    except ValueError as error:
        raise InputError(
            f"dmix cannot read template {text!r} ({error}); write each column as {{name}}, and a brace "
            "as {{ or }}"
        ) from None
    for _, name, form, conversion in found:
        if name is not None and (not name or form or conversion):
            raise InputError(
                f"template {text!r}: write each column as {{name}}, with only its name between the braces"
            )
    if not any(name for _, name, _, _ in found):
        raise InputError(f"template {text!r} contains no column; write a column as {{name}}")
    return Pattern(tuple((literal, name) for literal, name, _, _ in found))


def _texts(names: tuple[str, ...], record: Mapping[str, object]) -> dict[str, str] | Refusal:
    """Text by column, empty for null; a refusal if a column is missing, all are null, or one is no text."""
    absent = next((name for name in names if name not in record), None)
    if absent is not None:
        return Refusal("missing_text", f"no column {absent!r}{what_it_has(record)}")
    if all(record[name] is None for name in names):
        return Refusal("missing_text", f"no text in columns {', '.join(names)}")
    texts = {}
    for name in names:
        value = record[name]
        text = "" if value is None else text_in(value, name)
        if isinstance(text, Refusal):
            return text
        texts[name] = text
    return texts
