"""What is tried on a record, one after the other: a named template, then the first column with a text.

This is the form of every flag that dmix proposes, so that a proposal adds to what a user gave.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dmix.etl.templates.conversations import PLAIN, fitting_template, text_name

FIRST = "first:"


@dataclass(frozen=True)
class Alternatives:
    """What reads a record.

    Attributes:
        head: `chat`, `instruction` or `model:PATH`, for records that have its columns; None for none.
        columns: Columns of which the first with a text counts, for the other records.
    """

    head: str | None = None
    columns: tuple[str, ...] = ()

    @property
    def template(self) -> str:
        """Value of `--template`; empty where there is nothing to read."""
        columns = f"{FIRST}{','.join(self.columns)}" if self.columns else ""
        return ",".join(part for part in (self.head, columns) if part)

    @property
    def flag(self) -> str:
        """The flag that reads these, to be pasted into a shell; a single column needs no template."""
        if self.head is None and len(self.columns) == 1:
            return f"--text-column {shlex.quote(self.columns[0])}"
        return f"--template {shlex.quote(self.template)}"

    def wider(self, others: Iterable[Sequence[str]]) -> "Alternatives":
        """These, and what reads records with other columns by their names.

        Args:
            others: Columns of each kind of record.
        """
        head, columns = self.head, list(self.columns)
        for names in others:
            fitting, name = fitting_template(names), text_name(names)
            if fitting is None:
                columns += [] if name is None else [name]
            elif head is None or (head, fitting) == ("instruction", "chat"):
                head = fitting  # chat reads pairs, too
        if head is not None and set(columns) == {PLAIN}:  # which named templates read anyway
            columns = []
        return Alternatives(head, tuple(dict.fromkeys(columns)))


NOTHING = Alternatives()
