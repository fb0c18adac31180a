"""Records that were not read: their number by file and kind, and what people can do about them."""

import re
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dmix.etl.publishing.rejects import Reject
from dmix.etl.templates.conversations import fitting_template, text_name
from dmix.etl.templates.templates import first_of

# Unreadable records that are kept to be shown; all are counted.
_MOST_REJECTS = 10_000
_MOST_KINDS = 1_000
_MOST_LINES = 10
_LONGEST_NAME = 40
_NO_TEXT = ("id", "_id", "uuid", "url", "date", "timestamp", "meta", "metadata", "label", "source")

# What a person does about records that cannot be read, by reason; the others need no word.
_REMEDIES = {
    "invalid_utf8": "convert the file: iconv -f latin1 -t utf-8 FILE > NEW",
    "not_messages": "choose another --template",
}


@dataclass
class _Kind:
    first: Reject
    count: int = 0


@dataclass
class Unread:
    """Counts records that were not read, by reason, file and set of columns.

    Attributes:
        asked: Columns of which the first with a text counts, where the text is read so.
        templated: Whether a template reads records in another way, which excludes a column of the text.
        rejects: The first of them, with file and place.
        counts: All of them, by reason.
    """

    asked: tuple[str, ...] = ()
    templated: bool = False

    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _kinds: dict[tuple[str, str, str], _Kind] = field(default_factory=dict)

    def add(self, reject: Reject) -> None:
        """Counts a record."""
        self.counts[reject.reason] += 1
        if len(self.rejects) < _MOST_REJECTS:
            self.rejects.append(reject)
        columns = reject.detail if reject.reason == "missing_text" else ""
        key = (reject.reason, reject.path, columns)
        if key in self._kinds or len(self._kinds) < _MOST_KINDS:
            self._kinds.setdefault(key, _Kind(reject)).count += 1

    def lines(self, *, others_read: bool) -> tuple[str, ...]:
        """For each file and kind of record: how many, the first of them, and what helps.

        Args:
            others_read: Whether the field also has records that were read.
        """
        beside = (*(self.asked if others_read else ()), *self.text_columns)
        kinds = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        lines = [_line(kind, beside=beside, templated=self.templated) for kind in kinds[:_MOST_LINES]]
        more = self.counts.total() - sum(kind.count for kind in kinds[:_MOST_LINES])
        return (*lines, *([f"{more:,} more records not read, of other files or kinds"] if more else []))

    @property
    def text_columns(self) -> tuple[str, ...]:
        """Columns that hold the text of records without the asked one, by their names, the most first."""
        found: Counter[str] = Counter()
        for kind in self._kinds.values():
            columns = columns_of_record(kind.first.prefix) if kind.first.reason == "missing_text" else []
            name = text_name(columns)
            if name is not None and fitting_template(columns) is None:
                found[name] += kind.count
        return tuple(name for name, _ in found.most_common())


def _line(kind: _Kind, *, beside: Sequence[str], templated: bool) -> str:
    first = kind.first
    remedy = _REMEDIES.get(first.reason, "")
    if first.reason == "missing_text":
        remedy = text_flag(columns_of_record(first.prefix), beside=beside, templated=templated)
    number = f"{kind.count:,} record{'' if kind.count == 1 else 's'}"
    return (
        f"{number} not read, reason {first.reason}; the first is record {first.position} of {first.path}: "
        f"{first.detail}{f' ({remedy})' if remedy and remedy not in first.detail else ''}"
    )


def text_flag(columns: Sequence[str], *, beside: Sequence[str] = (), templated: bool = False) -> str:
    """Which flag reads records with these columns, as advice.

    Args:
        columns: Their columns.
        beside: Columns that hold the text of other records.
        templated: Whether the other records need the template that was given.
    """
    if templated:
        return "the template reads no such records; in a copy, rename their columns to those of the template"
    template = fitting_template(columns)
    if template is not None:
        return f"use --template {template}"
    name = text_name(columns)
    if name is not None:
        several = tuple(dict.fromkeys((*beside, name)))
        return f"use --template {shlex.quote(first_of(several))}" if len(several) > 1 else one_column(name)
    named = next((column for column in columns if column.lower() not in _NO_TEXT), None)
    example = f", for example --text-column {shlex.quote(named)}" if named else ""
    return f"give the text column with --text-column{example}"


def one_column(name: str) -> str:
    """The flag that reads text in a column, as advice."""
    return f"use --text-column {shlex.quote(name)}"


def columns_of_record(prefix: str) -> list[str]:
    """Names of columns that the beginning of a record shows."""
    names, depth = [], 0
    for token in re.finditer(
        r'"(?P<text>(?:[^"\\]|\\.)*)"(?P<colon>\s*:)?|(?P<open>[{\[])|(?P<close>[}\]])', prefix
    ):
        depth += bool(token["open"]) - bool(token["close"])
        if depth == 1 and token["colon"] and len(token["text"]) <= _LONGEST_NAME:
            names.append(token["text"])
    return list(dict.fromkeys(names))
