"""Records that were not read: their number by file and kind, and what people can do about them."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from dmix.etl.publishing.rejects import REASONS, Reject
from dmix.etl.templates.alternatives import NOTHING, Alternatives
from dmix.etl.templates.conversations import fitting_template, text_name
from dmix.warehouse_schema.sizes import num_text

# Unreadable records that are kept to be shown; all are counted.
_MOST_REJECTS = 10_000
_MOST_KINDS = 1_000
_MOST_LINES = 10
_MOST_FILES = 1_000
_LONGEST_NAME = 40
_NO_TEXT = ("id", "_id", "uuid", "url", "date", "timestamp", "meta", "metadata", "label", "source")

# What a person does about records that cannot be read, by reason; the others need no word.
REMEDIES = {
    "invalid_utf8": "convert each file, for example: iconv -f latin1 -t utf-8 OLD > NEW",
    "malformed_json": "correct the line, or remove it",
    "text_not_string": "name the column that has the text, either with --text-column or with --template",
    "not_messages": "give a template with your own columns, such as --template '{prompt} {answer}'",
    "too_long": "raise --max-document-bytes, or cut the document",
    "truncated_input": "copy or download the file again",
    "damaged_input": "copy or download the file again",
    "ambiguous_columns": "rename one of the columns",
    "id_not_text": "give the right column with --id-column, or leave --id-column out",
    "missing_label": "give the right column with --classifier column:NAME",
    "unknown_label": "use --taxonomy from-data, or give a file with the labels of the data to --taxonomy",
}


def reason_text(reason: str) -> str:
    """A reason in words, with what a person does about it."""
    remedy = REMEDIES.get(reason, "")
    return f"{REASONS.get(reason, reason)}{f' ({remedy})' if remedy else ''}"


@dataclass
class _Kind:
    first: Reject
    count: int = 0
    files: set[str] = field(default_factory=set)


@dataclass
class Unread:
    """Counts records that were not read, by reason and set of columns.

    Attributes:
        read: What is tried on a record; None where a template reads all of several columns.
        rejects: The first of them, with file and place.
        counts: All of them, by reason.
    """

    read: Alternatives | None = NOTHING

    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _kinds: dict[tuple[str, str], _Kind] = field(default_factory=dict)

    def add(self, reject: Reject) -> None:
        """Counts a record."""
        self.counts[reject.reason] += 1
        if len(self.rejects) < _MOST_REJECTS:
            self.rejects.append(reject)
        columns = reject.detail if reject.reason == "missing_text" else ""
        key = (reject.reason, columns)
        if key in self._kinds or len(self._kinds) < _MOST_KINDS:
            kind = self._kinds.setdefault(key, _Kind(reject))
            kind.count += 1
            if len(kind.files) < _MOST_FILES:
                kind.files.add(reject.path)

    def lines(self, *, others_read: bool) -> tuple[str, ...]:
        """For each kind of record: how many, in how many files, the first of them, and what helps.

        Args:
            others_read: Whether the field also has records that were read.
        """
        read = self.read if others_read else NOTHING
        kinds = sorted(self._kinds.values(), key=lambda kind: -kind.count)
        lines = [
            _line(kind, all_columns=self.other_columns, read=read, asked=self.read)
            for kind in kinds[:_MOST_LINES]
        ]
        more = self.counts.total() - sum(kind.count for kind in kinds[:_MOST_LINES])
        return (
            *lines,
            *([f"{num_text(more, 'more record')} not read, for other reasons"] if more else []),
        )

    @property
    def other_columns(self) -> tuple[tuple[str, ...], ...]:
        """Columns of the records that lack a text, the most frequent ones first."""
        found: Counter[tuple[str, ...]] = Counter()
        for kind in self._kinds.values():
            if kind.first.reason == "missing_text":
                found[tuple(columns_of_record(kind.first.prefix))] += kind.count
        return tuple(columns for columns, _ in found.most_common())


def _line(
    kind: _Kind,
    *,
    all_columns: Sequence[Sequence[str]],
    read: Alternatives | None,
    asked: Alternatives | None,
) -> str:
    first = kind.first
    remedy = REMEDIES.get(first.reason, "")
    if first.reason == "missing_text":
        columns = columns_of_record(first.prefix)
        null = asked is not None and set(columns) & set(asked.columns)
        remedy = text_flag(columns, all_columns=all_columns, read=read)
        if null and not set(columns) - null - set(_NO_TEXT):
            remedy = "their text is null"
    more = len(kind.files)
    files = f" in {num_text(more, 'file')}{' or more' if more == _MOST_FILES else ''}" if more > 1 else ""
    return (
        f"{num_text(kind.count, 'record')} not read{files}, reason {first.reason}; the first is record "
        f"{first.position} of {first.path}: {first.detail}"
        f"{f' ({remedy})' if remedy and remedy not in first.detail else ''}"
    )


def text_flag(
    columns: Sequence[str],
    *,
    all_columns: Sequence[Sequence[str]] = (),
    read: Alternatives | None = NOTHING,
) -> str:
    """Which flag reads records with these columns, and all others, as advice.

    Args:
        columns: Their columns.
        all_columns: Columns of each kind of record that lacks a text, so that one flag reads them all.
        read: What reads the other records; nothing by default, None for a template that takes no addition.
    """
    if read is None:
        return "the template reads no such records; in a copy, rename their columns to those of the template"
    if fitting_template(columns) is not None or text_name(columns) is not None:
        return f"use {read.wider((*all_columns, columns)).flag}"
    named = next((column for column in columns if column.lower() not in _NO_TEXT), "COLUMN")
    example = Alternatives(read.head, (*read.columns, named)).flag
    return f"name the column that has their text, for example {example}"


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
