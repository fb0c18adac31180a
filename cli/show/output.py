"""What commands print: data on stdout, progress and messages on stderr."""

import csv
import io
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.cells import cell_len

from dmix.warehouse_schema.files.names import printable, printable_json, without_credentials

if TYPE_CHECKING:
    from rich.table import Table

LONGEST_CELL = 80
# Characters of a line that goes to no terminal.
_PIPED_WIDTH = 200
# What a table on one line per row may cut its columns down to; below, rows are shown as lists.
_LEAST_CELL = 12
_BETWEEN_COLUMNS = 3


class Coloured(str):
    """A word that tables show in a style of rich where the output is a terminal."""

    style: str

    def __new__(cls, text: str, style: str) -> "Coloured":
        word = super().__new__(cls, text)
        word.style = style
        return word


def show_json(value: Any) -> None:
    """Prints one JSON document on stdout; NaN and infinities become null, times ISO 8601."""
    click.echo(printable_json(json.dumps(plain(value), indent=1, ensure_ascii=False, default=str)))


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, form: str) -> None:
    """Prints rows on stdout.

    Args:
        columns: Names of the columns; one that comes twice gets a number where names are keys.
        rows: Values in the order of `columns`.
        form: `table`, which becomes a list where that reads better; `list`, a block per row with a line a
            column; `json`, a list of objects; `jsonl`, one object per line; or `csv` with a header.
    """
    if form == "table":
        _show_fitting(columns, rows)
    elif form == "list":
        show_list(columns, rows)
    elif form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_csv_cell(plain(value)) for value in row] for row in rows)
    else:
        names = list(_distinct(columns))
        objects = [dict(zip(names, row, strict=True)) for row in rows]
        if form == "json":
            show_json(objects)
        for value in objects if form == "jsonl" else ():
            click.echo(printable_json(json.dumps(plain(value), ensure_ascii=False, default=str)))


def plain(value: Any) -> Any:
    """`value` as JSON can hold it: NaN and infinities as None, decimals as numbers, times as text."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def say(message: str) -> None:
    """Prints a line for people on stderr."""
    click.echo(printable(without_credentials(message)), err=True)


def get_ready_to_show() -> None:
    """Imports what shows tables, for commands that wait for something else meanwhile."""
    import rich.console
    import rich.table  # noqa: F401


def show_table(
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    title: str | None = None,
    longest_cell: int = LONGEST_CELL,
    whole_by: str = "--format list or json",
) -> None:
    """Prints a table on stdout; numbers right-aligned, longer cells cut, full width when piped.

    Args:
        columns: Names of the columns.
        rows: Values in the order of `columns`.
        title: Above the table.
        longest_cell: Characters after which a cell is cut.
        whole_by: Flag of the command that shows whole cells.
    """
    from rich.console import Console

    console = Console(file=sys.stdout, width=_width(), highlight=False, markup=False, emoji=False)
    table, cut = _table(columns, rows, title=title, longest_cell=longest_cell)
    console.print(table)
    if cut:
        say(f"the table cuts cells after {longest_cell} characters; use {whole_by} to see whole cells")


def table_text(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> str:
    """The table that `show_table` prints, as text without colours."""
    from rich.console import Console

    out = io.StringIO()
    console = Console(
        file=out,
        force_jupyter=False,
        force_terminal=False,  # a kernel of Jupyter sets FORCE_COLOR
        width=_PIPED_WIDTH,
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.print(_table(columns, rows, title=title, longest_cell=LONGEST_CELL)[0])
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None, longest_cell: int
) -> tuple["Table", bool]:
    """A table to print, and whether cells of it were cut."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(printable(column), justify="right" if numeric else "left", overflow="fold")
    cut = False
    for row in rows:
        cells = [cell_text(value) for value in row]
        cut = cut or any(len(cell) > longest_cell for cell in cells)
        shown = [_shortened(cell, longest_cell) for cell in cells]
        table.add_row(
            *(
                Text(cell, style=value.style) if isinstance(value, Coloured) else cell
                for value, cell in zip(row, shown, strict=True)
            )
        )
    return table, cut


def show_list(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Prints every row as a block of lines, name and whole value; JSON is unfolded."""
    width = max((len(column) for column in columns), default=0)
    for number, row in enumerate(rows):
        if number:
            click.echo()
        for column, value in zip(columns, row, strict=True):
            first, *more = _unfolded(value).splitlines() or [""]
            click.echo(f"{printable(column):<{width}}  {first}".rstrip())
            for line in more:
                click.echo(f"{'':<{width}}  {line}")


def _show_fitting(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table with one line per row, its widest columns cut until it fits; lists where it never would.

    One row that does not fit as it is becomes a list, too: there is nothing to compare it with.
    """
    space = _width() - _BETWEEN_COLUMNS * (len(columns) - 1)
    widths = [
        max(cell_len(text) for text in (name, *(cell_text(row[index]) for row in rows)))
        for index, name in enumerate(columns)
    ]
    most = max(widths, default=0)
    while most > _LEAST_CELL and sum(min(width, most) for width in widths) > space:
        most -= 1
    whole = sum(widths) <= space
    if whole or (len(rows) > 1 and sum(min(width, most) for width in widths) <= space):
        show_table(columns, rows, longest_cell=most)
    else:
        show_list(columns, rows)


def _width() -> int:
    """Characters of a line: the terminal's, or many where the output goes elsewhere."""
    if not sys.stdout.isatty():
        return _PIPED_WIDTH
    from rich.console import Console

    return Console(file=sys.stdout).width


def _unfolded(value: Any) -> str:
    """A value as a list shows it: objects and arrays of JSON over several lines."""
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return printable(str(value))
    if isinstance(value, dict | list):
        return printable(json.dumps(plain(value), indent=1, ensure_ascii=False, default=str))
    return cell_text(value)


def _shortened(cell: str, longest: int) -> str:
    """A cell on one line, cut where it is too long for a table, as JSON configurations are."""
    return cell if len(cell) <= longest else " ".join(cell[: longest - 1].split()) + "…"


def _distinct(columns: Sequence[str]) -> Iterator[str]:
    """Names that differ: a, a, b become a, a_2, b."""
    seen: dict[str, int] = {}
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        yield column if seen[column] == 1 else f"{column}_{seen[column]}"


def _csv_cell(value: Any) -> Any:
    """A value as CSV holds it. A terminal would obey control characters; a file gets them as they are."""
    cell = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
    return printable(cell) if isinstance(cell, str) and sys.stdout.isatty() else cell


def cell_text(value: Any) -> str:
    """A value as tables show it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return printable(str(value))


def warehouse_flag(root: Path) -> str:
    """` --warehouse PATH` for a command to be pasted; empty where that command finds the warehouse anyway."""
    found = Path(os.environ.get("DMIX_WAREHOUSE") or "warehouse")
    return "" if found.absolute() == root.absolute() else f" --warehouse {shlex.quote(str(root))}"
