"""Messages and instructions of a record, whatever their columns and roles are called.

| columns | what they hold |
|---|---|
| `messages`, `conversations` | a list of objects with `role` and `content`, or with `from` and `value` |
| a pair of `PAIRS` | a question, optional context, and an answer, each of them text |
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

CONVERSATIONS = ("messages", "conversations")
PAIRS: tuple[tuple[str, str, str], ...] = (
    ("prompt", "", "response"),
    ("prompt", "", "completion"),
    ("instruction", "input", "output"),
    ("instruction", "context", "response"),
    ("question", "context", "answer"),
)
"""Columns of question, context (which may be missing) and answer; the first pair that a record has counts."""

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}
"""Role by the name that a record gives it."""

TEXT_NAMES = ("text", "content", "contents", "body", "raw_content", "document", "article", "passage")
"""Usual names of the column of the text, the most usual first."""

PLAIN = "text"
"""Column of a record that is text already; it counts where a record has no messages and no pair."""

_PAIR_COLUMNS = tuple(dict.fromkeys(name for pair in PAIRS for name in pair if name))
COLUMNS = (*CONVERSATIONS, *_PAIR_COLUMNS, PLAIN)
"""Every column that `turns_of` may read."""

PAIR_SHAPES = tuple(dict.fromkeys((question, answer) for question, _, answer in PAIRS))
SHAPES = (*((name,) for name in CONVERSATIONS), *PAIR_SHAPES, (PLAIN,))
"""Columns that a record needs for `turns_of`: all of one of these."""

_MESSAGE_KEYS = (("role", "content"), ("from", "value"))
_MOST_NAMES = 12


class Refusal(NamedTuple):
    """Why a record gives no text.

    Attributes:
        reason: A key of `dmix.etl.publishing.rejects.REASONS`.
        detail: What was seen.
    """

    reason: str
    detail: str


class Message(NamedTuple):
    """One message.

    Attributes:
        role: A value of `ROLES`.
        content: Its text.
    """

    role: str
    content: str


class Unreadable(NamedTuple):
    """Stands for a value of a file that Python cannot express.

    Attributes:
        detail: What was seen.
    """

    detail: str


def conversation_of(record: Mapping[str, object]) -> list[Message] | Refusal:
    """The messages of the first column of `CONVERSATIONS` that holds a value.

    A system message without text is left out; any other message without text refuses the record.
    """
    name = next((name for name in CONVERSATIONS if record.get(name) is not None), None)
    if name is None:
        return missing(CONVERSATIONS, record)
    found = record[name]
    if not isinstance(found, list):
        return _no_text(found) or Refusal("not_messages", f"column {name!r} contains {kind_of(found)}")
    messages: list[Message] = []
    for number, value in enumerate(found, 1):
        message = _message(value, f"message {number} of {name!r}")
        if isinstance(message, Refusal):
            return message
        if message.content or message.role != "system":
            messages.append(message)
    if not messages:
        return Refusal("empty_text", f"column {name!r} contains no message")
    return messages


def pair_of(record: Mapping[str, object]) -> tuple[str, str, str] | Refusal:
    """Question, context and answer of the first of `PAIRS` that the record has; no context is empty."""
    names = next((pair for pair in PAIRS if all(record.get(pair[i]) is not None for i in (0, 2))), None)
    if names is None:
        return missing([pair[i] for pair in PAIRS for i in (0, 2)], record)
    texts = []
    for name in names:
        text = text_in(record.get(name) or "", name)
        if isinstance(text, Refusal):
            return text
        if not text.strip() and name != names[1]:
            return Refusal("empty_text", f"column {name!r} is empty")
        texts.append(text.strip())
    return texts[0], texts[1], texts[2]


def turns_of(record: Mapping[str, object]) -> list[Message] | str | Refusal:
    """The messages of a record, its pair as two messages, or its plain text; the first that it has."""
    if any(record.get(name) is not None for name in CONVERSATIONS):
        return conversation_of(record)
    if any(all(record.get(name) is not None for name in shape) for shape in PAIR_SHAPES):
        pair = pair_of(record)
        if isinstance(pair, Refusal):
            return pair
        return [Message("user", "\n\n".join(filter(None, pair[:2]))), Message("assistant", pair[2])]
    if record.get(PLAIN) is not None:
        return text_in(record[PLAIN], PLAIN)
    return missing(COLUMNS, record)


def text_in(value: object, name: str) -> str | Refusal:
    """The text that a column holds, or why it holds none."""
    if isinstance(value, str):
        return value
    if value is None:
        return Refusal("missing_text", f"no text in column {name!r}")
    return _no_text(value) or Refusal("text_not_string", f"column {name!r} contains {kind_of(value)}")


def missing(wanted: Collection[str], record: Mapping[str, object]) -> Refusal:
    """The refusal of a record without the columns that are wanted, with those that it has."""
    listed = ", ".join(dict.fromkeys(wanted))
    return Refusal("missing_text", f"none of the columns {listed}{what_it_has(record)}")


def what_it_has(names: Collection[str], kind: str = "columns") -> str:
    """`; the columns are a, b`; empty for no names."""
    shown = ", ".join(str(name)[:40] for name in list(names)[:_MOST_NAMES])
    return f"; the {kind} are {shown}" if shown else ""


def fitting_template(names: Collection[str]) -> str | None:
    """The named template for records with these columns; None if none fits."""
    if any(name in names for name in CONVERSATIONS):
        return "chat"
    return "instruction" if any(pair[0] in names and pair[2] in names for pair in PAIRS) else None


def text_name(names: Collection[str]) -> str | None:
    """The column that holds the text by its name; None if none is called so."""
    by_name = {name.lower(): name for name in reversed(list(names))}
    return next((by_name[name] for name in TEXT_NAMES if name in by_name), None)


def kind_of(value: object) -> str:
    """What people call a value: an object, a list, text, a number, null."""
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)


def _message(value: object, where: str) -> Message | Refusal:
    if not isinstance(value, dict):
        return _no_text(value) or Refusal("not_messages", f"{where} is {kind_of(value)}")
    keys = next((keys for keys in _MESSAGE_KEYS if value.get(keys[0]) is not None), None)
    if keys is None:
        return Refusal("not_messages", f"{where} has no role{what_it_has(value, 'keys')}")
    role, content = value[keys[0]], value.get(keys[1])
    known = ROLES.get(role) if isinstance(role, str) else None
    if known is None:
        shown = repr(role[:40]) if isinstance(role, str) else kind_of(role)
        return Refusal("unknown_role", f"{where} has the role {shown}")
    if content is None:
        return Refusal("missing_text", f"{where} has no {keys[1]}")
    if not isinstance(content, str):
        return _no_text(content) or Refusal("text_not_string", f"{where} has {kind_of(content)} as {keys[1]}")
    if not content.strip() and known != "system":
        return Refusal("empty_text", f"{where} is empty")
    return Message(known, content.strip())


def _no_text(value: object) -> Refusal | None:
    return Refusal("invalid_utf8", value.detail) if isinstance(value, Unreadable) else None
