"""Tables of the report: their form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from dmix.training.report.page.templates import part


@dataclass(frozen=True)
class Cell:
    """A cell that is more than its text.

    Attributes:
        text: What is shown.
        sort: Number to sort by.
        bar: Length of a bar behind the text, against the longest one of its column; None for no bar.
        field: Whose colour the bar has.
    """

    text: "str | Markup"
    sort: float | None = None
    bar: float | None = None
    field: str = "source"


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    caption: str,
    groups: Sequence[tuple[str, int]] = (),
    total: Sequence[Any] | None = None,
    cards: bool = False,
) -> Markup:
    """A table that sorts by a click on a heading.

    Args:
        columns: Headings; the first column stays in view while the others scroll.
        rows: Cells: `Cell`, `Markup`, text, numbers or None.
        caption: What the table shows, read out and shown above it.
        groups: Headings over several columns as (text, columns).
        total: A last row that sorting leaves in place.
        cards: On a narrow screen, show each row as a card with a line per column.
    """
    numeric = [any(isinstance(row[i], int | float | Cell) for row in rows) for i in range(len(columns))]
    longest = [max((_bar(row[i]) for row in rows), default=0.0) for i in range(len(columns))]

    def shown(row: Sequence[Any]) -> list[dict[str, Any]]:
        return [
            {**_cell(value, i, numeric[i], longest[i]), "label": columns[i] if cards and i else None}
            for i, value in enumerate(row)
        ]

    return part(
        "table",
        caption=caption,
        columns=list(zip(columns, numeric, strict=True)),
        rows=[shown(row) for row in rows],
        groups=groups,
        total=None if total is None else shown(total),
        cards=cards,
    )


def pairs_list(facts: Mapping[str, Any]) -> Markup:
    """Names with values, in as many columns as fit; what is None or empty is left out."""
    entries = [(name, _text(value)) for name, value in facts.items() if value not in (None, "", ())]
    return part("facts", entries=entries)


def share_cell(share: float | None, field: str) -> Cell | None:
    """A share as a percentage with a bar; None where it is not known."""
    if share is None or not np.isfinite(share):
        return None
    text = "0" if share == 0 else f"{share:.2%}" if share >= 0.0001 else "<0.01%"
    return Cell(text, sort=share, bar=share, field=field)


def _bar(value: Any) -> float:
    return value.bar or 0.0 if isinstance(value, Cell) else 0.0


def _cell(value: Any, column: int, numeric: bool, longest: float) -> dict[str, Any]:
    """What the template needs of a cell."""
    bar, sort = None, None
    if isinstance(value, Cell):
        sort = None if value.sort is None else f"{value.sort:.8g}"
        bar = f"--share:{value.bar / longest:.3f};--bar:var(--{value.field})" if value.bar else None
        value = value.text
    elif isinstance(value, int | float):
        sort = str(value)
    return {
        "element": "th" if column == 0 else "td",
        "content": _text(value),
        "classes": " ".join(filter(None, ["number" if numeric else "", "bar" if bar else ""])),
        "sort": sort,
        "style": bar,
    }


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return value if isinstance(value, str) else str(value)
