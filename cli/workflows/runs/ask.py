"""Questions in SQL: `dmix sql`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dmix.cli.show.result import Result
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse

if TYPE_CHECKING:
    from dmix.warehouse_schema.catalog.catalog import Catalog


def ask(
    warehouse: Warehouse, query: str, *, allow_io: bool = False, memory_gb: float | None = None
) -> tuple[list[str], list[tuple]]:
    """Columns and rows of the catalog's answer to one question in SQL.

    Args:
        warehouse: The warehouse to ask.
        query: One statement of DuckDB's SQL.
        allow_io: Let the query read files, and COPY write them outside the warehouse.
        memory_gb: Memory that it may take, in GB; a quarter of the machine's when left out.

    Raises:
        NotFoundError: If the warehouse does not exist.
        InputError: If it is not exactly one query, or DuckDB refuses it.
    """
    with asked(warehouse, query, allow_io=allow_io, memory_gb=memory_gb) as catalog:
        return catalog.query(query)


def ask_for_arrow(
    warehouse: Warehouse, query: str, *, allow_io: bool = False, memory_gb: float | None = None
) -> Result:
    """The same answer; the result's value is an Arrow table, its table the first rows."""
    with asked(warehouse, query, allow_io=allow_io, memory_gb=memory_gb) as catalog:
        table = catalog.arrow(query)
    result = Result(table.to_pylist(), table)
    result.table(table.column_names, [tuple(row.values()) for row in result.facts])
    return result


@contextmanager
def asked(
    warehouse: Warehouse, query: str, *, allow_io: bool, memory_gb: float | None
) -> "Iterator[Catalog]":
    """A reader for one question, whose memory is bounded."""
    from dmix.warehouse_schema.catalog.bounds import bounded_memory, default_memory_bytes
    from dmix.warehouse_schema.catalog.catalog import Catalog

    if not query.strip():
        raise InputError("the query is empty; give one statement, for example 'SHOW TABLES'")
    limit_bytes = default_memory_bytes() if memory_gb is None else int(memory_gb * 1e9)
    with Catalog.open_reader(warehouse, allow_io=allow_io, memory_bytes=limit_bytes // 2) as catalog:
        with bounded_memory(limit_bytes):
            yield catalog
