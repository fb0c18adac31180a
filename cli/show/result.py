"""What workflows return: facts for programs, tables and lines for people, the library's own object.

A command shows a result (`show_result`); in a notebook it shows itself.
"""

import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dmix.cli.show.output import LONGEST_CELL, cell_text, say, show_json, show_table, table_text
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.sizes import num_text

if TYPE_CHECKING:
    import pandas
    import pyarrow

# Rows of a table that a notebook shows; `df()` has all.
_MOST_ROWS = 200


@dataclass(frozen=True)
class Table:
    """Rows for people; `records` are what a data frame has in their place, if anything."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str | None = None
    longest_cell: int = LONGEST_CELL
    records: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, repr=False, eq=False)
class Result:
    """What a command or a method of `Session` came to.

    Attributes:
        facts: Plain values, as `--json` prints them; `result["tokens"]` is one of them.
        value: The object of the library behind it, such as a manifest; None if there is none.
        blocks: Tables and lines for people, in order.
        error: Raised by the command after it has shown the result; a method of `Session` leaves it here.
    """

    facts: Any
    value: Any = None
    blocks: list[Table | str] = field(default_factory=list)
    error: DmixError | None = None

    def table(
        self,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        title: str | None = None,
        *,
        longest_cell: int = LONGEST_CELL,
        records: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Adds a table for people; a data frame of it has the `records` instead, if they are given."""
        self.blocks.append(Table(columns, rows, title, longest_cell, records))

    def line(self, text: str) -> None:
        """Adds a line for people."""
        self.blocks.append(text)

    @property
    def tables(self) -> list[Table]:
        return [block for block in self.blocks if isinstance(block, Table)]

    def df(self, table: int = 0) -> "pandas.DataFrame":
        """One of the tables as a pandas data frame.

        Args:
            table: Which one, from 0, in the order in which they are shown.
        """
        import pandas as pd

        if hasattr(self.value, "to_pandas"):  # an Arrow table, which keeps the types of SQL
            frame: pd.DataFrame = self.value.to_pandas()
            return frame
        found = self.tables[table]
        if found.records is not None:
            return pd.DataFrame(list(found.records))
        return pd.DataFrame([list(row) for row in found.rows], columns=list(found.columns))

    def arrow(self, table: int = 0) -> "pyarrow.Table":
        """One of the tables as an Arrow table."""
        import pyarrow as pa

        if isinstance(self.value, pa.Table):
            return self.value
        return pa.Table.from_pandas(self.df(table), preserve_index=False)

    def __getitem__(self, name: Any) -> Any:
        return self.facts[name]

    def __repr__(self) -> str:
        shown = [
            block
            if isinstance(block, str)
            else table_text(block.columns, block.rows[:_MOST_ROWS], title=block.title)
            for block in self.blocks
        ]
        return "\n".join(text.rstrip() for text in shown) or repr(self.facts)

    def _repr_html_(self) -> str:
        return "".join(
            f"<p>{html.escape(block)}</p>" if isinstance(block, str) else _html_table(block)
            for block in self.blocks
        )


def show_result(result: Result, *, as_json: bool) -> None:
    """Prints a result as commands do: tables on stdout, lines on stderr, or its facts as JSON.

    Raises:
        DmixError: If the result holds one.
    """
    if as_json:
        show_json(result.facts)
    for block in () if as_json else result.blocks:
        if isinstance(block, str):
            say(block)
        else:
            show_table(
                block.columns,
                block.rows,
                title=block.title,
                longest_cell=block.longest_cell,
                whole_by="--json",
            )
    if result.error is not None:
        raise result.error


def _html_table(table: Table) -> str:
    out = io.StringIO()
    out.write("<table>")
    if table.title:
        out.write(f"<caption>{html.escape(table.title)}</caption>")
    out.write("<thead><tr>" + "".join(f"<th>{html.escape(c)}</th>" for c in table.columns) + "</tr></thead>")
    for row in table.rows[:_MOST_ROWS]:
        out.write("<tr>" + "".join(map(_html_cell, row)) + "</tr>")
    out.write("</table>")
    if len(table.rows) > _MOST_ROWS:
        out.write(f"<p>{num_text(len(table.rows) - _MOST_ROWS, 'more row')}: use .df()</p>")
    return out.getvalue()


def _html_cell(value: Any) -> str:
    right = ' style="text-align: right"' if isinstance(value, int | float) else ""
    return f"<td{right}>{html.escape(cell_text(value))}</td>"
