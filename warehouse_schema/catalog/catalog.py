"""The catalog: an index over a warehouse that answers SQL, `catalog.duckdb`.

`sync` (`sync.py`) brings it up to date, `Catalog.open_reader` asks it.

A reader asks the file itself, read only, through the views that are in it. If events of a run came since
the last sync, it reads them and makes the views in a private in-memory database over the file, so that they
show the run as it is now. Before it asks anything, it locks itself out of the file system; a reader that may
read files takes the views of this program, since those of a received file are its maker's. Every question
runs in a transaction that is read only.
"""

import difflib
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from dmix.warehouse_schema.catalog.bounds import default_memory_bytes, ends_on_interrupt
from dmix.warehouse_schema.catalog.migrate import (
    apply_views,
    is_current,
    load_schema,
    quoted_name,
    require_tables,
)
from dmix.warehouse_schema.catalog.statements import checked_statement
from dmix.warehouse_schema.catalog.stored import CONFIG, STORED, damage_named, live_runs, open_stored, overlay
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse, written_together

if TYPE_CHECKING:
    import pandas
    import pyarrow

T = TypeVar("T")

# Times the memory limit that a reader may spill to disk.
_SPILL_FACTOR = 4


def _arrow_table(result: duckdb.DuckDBPyConnection) -> "pyarrow.Table":
    """The rows of a statement; DuckDB (2.0) warns that it copies them, which takes milliseconds here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Arrow output on a DB-API result")
        return result.to_arrow_table()


class Catalog:
    """A reader of the catalog; made by `open_reader`.

    Args:
        connection: A connection whose current database has the public views.
        allow_io: Let queries read files, and COPY write them.
        protected: Folders that COPY must not write into.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, *, allow_io: bool = False, protected: Sequence[Path] = ()
    ) -> None:
        self._connection = connection
        self._allow_io, self._protected = allow_io, protected
        self._resources = ExitStack()

    @classmethod
    def open_reader(
        cls, warehouse: Warehouse, allow_io: bool = False, memory_bytes: int | None = None
    ) -> "Catalog":
        """A reader that sees everything imported, and unfinished runs as they are now.

        Close it, or use it in a `with` statement.

        A catalog that is missing, or older than this program, is brought up to date first.

        Args:
            warehouse: The warehouse to ask.
            allow_io: Let queries read files (`read_csv`), and `copy … to` write them outside the warehouse.
            memory_bytes: What DuckDB may hold in memory; a quarter of the machine's if left out.

        Raises:
            NotFoundError: If the warehouse does not exist.
            CatalogError: If the catalog is damaged, or newer than this program.
        """
        resources = ExitStack()
        catalog = resources.enter_context(cls._reader(warehouse, allow_io, memory_bytes))
        catalog._resources = resources
        return catalog

    def close(self) -> None:
        """Closes the connection; a second time does nothing."""
        self._resources.close()

    def __enter__(self) -> "Catalog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    @contextmanager
    def _reader(cls, warehouse: Warehouse, allow_io: bool, memory_bytes: int | None) -> Iterator["Catalog"]:
        warehouse.require()
        schema = load_schema()
        if not warehouse.catalog.exists():
            sync(warehouse)
        limit_bytes = default_memory_bytes() if memory_bytes is None else memory_bytes
        with tempfile.TemporaryDirectory(prefix="dmix-sql-") as spill:
            config = {
                **CONFIG,
                "temp_directory": spill,
                "memory_limit": f"{limit_bytes // 1000}KB",
                "max_temp_directory_size": f"{_SPILL_FACTOR * limit_bytes // 1000}KB",
            }
            connection = open_stored(warehouse, config, allow_io=allow_io)
            if not is_current(connection, schema, database=STORED):
                connection.close()
                sync(warehouse)
                connection = open_stored(warehouse, config, allow_io=allow_io)
            with closing(connection):
                require_tables(connection, schema, database=STORED)
                with damage_named(warehouse.catalog):
                    live = live_runs(connection, warehouse)
                    # what can read files is asked through the views of this program, not of the file
                    if live or allow_io:
                        connection.execute("begin")  # one commit for some 200 small statements
                        overlay(connection, warehouse, live)
                        apply_views(connection, schema)
                        connection.execute("commit")
                    else:
                        connection.execute(f"use {STORED}")
                connection.execute("set lock_configuration = true")
                yield cls(connection, allow_io=allow_io, protected=warehouse.folders())

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> tuple[list[str], list[tuple]]:
        """Names of the columns, and the rows, of one statement.

        Args:
            sql: One statement; a semicolon at its end is fine.
            parameters: Values for its `?`.

        Raises:
            InputError: If it is not exactly one query, or DuckDB refuses it, or the result is too large for
                the memory; the message is DuckDB's.
            KeyboardInterrupt: If Ctrl-C ended it.
        """
        return self._answer(
            sql,
            parameters,
            lambda result: ([column[0] for column in result.description or []], result.fetchall()),
        )

    def arrow(self, sql: str, parameters: Sequence[Any] = ()) -> "pyarrow.Table":
        """The answer to one statement as an Arrow table; arguments and errors as of `query`."""
        return self._answer(sql, parameters, _arrow_table)

    def df(self, sql: str, parameters: Sequence[Any] = ()) -> "pandas.DataFrame":
        """The answer to one statement as a pandas data frame; arguments and errors as of `query`."""
        return self._answer(sql, parameters, lambda result: result.df())

    def _answer(
        self, sql: str, parameters: Sequence[Any], fetch: Callable[[duckdb.DuckDBPyConnection], T]
    ) -> T:
        connection = self._connection
        try:
            statement = checked_statement(
                connection, sql, allow_copy=self._allow_io, protected=self._protected
            )
            with ends_on_interrupt():
                connection.execute("begin transaction read only")
                try:
                    return fetch(connection.execute(statement, list(parameters)))
                finally:
                    connection.execute("rollback")
        except duckdb.InterruptException:
            raise KeyboardInterrupt from None
        except RuntimeError as error:
            if "interrupted" not in str(error):  # how DuckDB's client (2.0) answers Ctrl-C
                raise
            raise KeyboardInterrupt from None
        except (MemoryError, duckdb.OutOfMemoryException) as error:
            said = str(error).splitlines()[0] if str(error) else "the result is too large"
            raise InputError(
                f"the query needs more memory than its limit ({said}); select fewer rows, aggregate "
                "them, or raise --memory-gb"
            ) from None
        except duckdb.CatalogException as error:
            raise InputError(
                f"{self._own_suggestion(str(error))}\n\nSHOW TABLES lists the views. DESCRIBE lists the "
                "columns of a view"
            ) from None
        except duckdb.Error as error:
            raise InputError(str(error)) from None

    def _own_suggestion(self, said: str) -> str:
        """DuckDB's words about a missing table, with the nearest view in place of its internal tables."""
        missing = re.search(r"Table with name (.+) does not exist!", said)
        if missing is None:
            return said
        near = difflib.get_close_matches(missing[1], self.views(), n=1, cutoff=0.5)
        meant = f'Did you mean "{near[0]}"?' if near else ""
        return re.sub(r'Did you mean "[^"]*"\?', lambda _: meant, said, count=1).strip()

    def views(self) -> list[str]:
        """Names of the public views, sorted."""
        _, rows = self.query(
            "select view_name from duckdb_views() where not internal and schema_name = 'main'"
            " and database_name = current_database() order by view_name"
        )
        return [name for (name,) in rows]


def export_views(warehouse: Warehouse, folder: Path) -> dict[str, int]:
    """Writes `<view>.parquet` for every public view; all files appear at the end, or none.

    Returns:
        Rows written, by view.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
        Others: As `Catalog.open_reader`.
    """
    rows = {}
    with Catalog.open_reader(warehouse, allow_io=True) as catalog, written_together(folder) as written:
        for view in catalog.views():
            path = written / f"{view}.parquet"
            quoted = str(path).replace("'", "''")
            # past `query`, since a folder inside the warehouse is fine here
            copied = catalog._connection.execute(
                f"copy (from {quoted_name(view)}) to '{quoted}' (format parquet)"
            )
            [(count,)] = copied.fetchall()
            rows[view] = int(count)
    return rows
