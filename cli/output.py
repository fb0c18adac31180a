"""What commands print: data on stdout, progress and messages on stderr."""

import csv
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import click
from rich.console import Console
from rich.table import Table

_LONGEST_CELL = 80


def show_json(value: Any) -> None:
    """Prints one JSON document on stdout; NaN and infinities become null, times ISO 8601."""
    click.echo(json.dumps(plain(value), indent=1, ensure_ascii=False, default=str))


def show_rows(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, form: str) -> None:
    """Prints rows on stdout.

    Args:
        columns: Names of the columns; one that comes twice gets a number where names are keys.
        rows: Values in the order of `columns`.
        form: `table`; `json`, a list of objects; `jsonl`, one object a line; or `csv` with a header.
    """
    if form == "table":
        show_table(columns, rows)
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
            click.echo(json.dumps(plain(value), ensure_ascii=False, default=str))


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
    click.echo(message, err=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[Any]], *, title: str | None = None) -> None:
    """Prints a table on stdout; numbers right-aligned, full width when piped."""
    width = None if sys.stdout.isatty() else 200
    console = Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)
    table = Table(title=title, show_edge=False, pad_edge=False)
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", overflow="fold")
    cut = False
    for row in rows:
        cells = [_cell(value) for value in row]
        cut = cut or any(len(cell) > _LONGEST_CELL for cell in cells)
        table.add_row(*(_shortened(cell) for cell in cells))
    console.print(table)
    if cut:
        say(f"cells longer than {_LONGEST_CELL} characters are cut; the formats json and csv keep them whole")


def _shortened(cell: str) -> str:
    """A cell on one line, cut where it is too long for a table, as JSON configurations are."""
    return cell if len(cell) <= _LONGEST_CELL else " ".join(cell[: _LONGEST_CELL - 1].split()) + "…"


def _distinct(columns: Sequence[str]) -> Iterator[str]:
    """Names that differ: a, a, b become a, a_2, b."""
    seen: dict[str, int] = {}
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        yield column if seen[column] == 1 else f"{column}_{seen[column]}"


def _csv_cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)
