"""The catalog: an index over a warehouse that answers SQL, `catalog.duckdb`.

`sync` brings it up to date, `Catalog.open_reader` asks it. One process writes or many read, so a
writer works on a copy and publishes it by a rename, under a lock: readers, who keep the file that
they opened, neither block a writer nor are blocked. Traded away: a sync copies the whole file,
which stays small because vectors are stored as lists.

A reader asks the file itself, read only, through the views that are in it. If events of a run came since
the last sync, it reads them and makes the views in a private in-memory database over the file, so that they
show the run as it is now. Before it asks anything, it locks itself out of the file system; a reader that may
read files takes the views of this program, since those of a received file are its maker's. Every question
runs in a transaction that is read only.
"""

import errno
import logging
import os
import shlex
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb

from dmix.warehouse_schema.catalog.bounds import default_memory_bytes, ends_on_interrupt
from dmix.warehouse_schema.catalog.importing import (
    DAMAGE,
    arrow_rows,
    changed_units,
    has_changes,
    import_units,
    insert_rows,
    schema_of,
    stored_units,
    unfinished_runs,
)
from dmix.warehouse_schema.catalog.migrate import (
    Schema,
    apply_views,
    is_current,
    load_schema,
    migrate,
    pending,
    quoted_name,
    refuse_views,
    require_tables,
)
from dmix.warehouse_schema.catalog.statements import checked_statement
from dmix.warehouse_schema.catalog.units import RUN_TABLES, Unit, published_units, read_unit
from dmix.warehouse_schema.errors import CatalogError, InputError, LockHeldError, StorageError
from dmix.warehouse_schema.files.layout import Warehouse, storage_errors
from dmix.warehouse_schema.files.locks import DEFAULT_TIMEOUT_SECONDS, held_lock

if TYPE_CHECKING:
    import pandas
    import pyarrow

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Name under which readers attach the published file; the database over it is called `memory`.
STORED = "catalog"

# What DuckDB repeats of the system when a file cannot grow.
_NO_SPACE = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))

# Times the memory limit that a reader may spill to disk.
_SPILL_FACTOR = 4
_CONFIG = {"python_enable_replacements": False, "autoinstall_known_extensions": False}


def sync(warehouse: Warehouse, *, lock_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
    """Imports what is new or changed in the warehouse, and forgets what is gone.

    Doing it twice changes nothing. Commands that published something end with `sync_at_end`.

    Raises:
        NotFoundError: If the warehouse does not exist.
        LockHeldError: If another process writes the catalog for longer than `lock_seconds`.
        CatalogError: If the catalog is damaged, or newer than this program.
        StorageError: If the disk is full or the folder cannot be written; the old catalog stays.
    """
    warehouse.require()
    with _writing(warehouse, lock_seconds):
        _write(warehouse, load_schema(), empty=False)


def sync_at_end(
    warehouse: Warehouse,
    *,
    warn: Callable[[str], None],
    lock_seconds: float = DEFAULT_TIMEOUT_SECONDS,
) -> bool:
    """`sync` for a command whose work is published: a catalog that cannot be written does not undo it.

    Args:
        warehouse: The warehouse.
        warn: Receives a line for people if the catalog stays as it was.
        lock_seconds: How long to wait for another process that writes the catalog.

    Returns:
        Whether the catalog is up to date.
    """
    try:
        sync(warehouse, lock_seconds=lock_seconds)
    except (LockHeldError, CatalogError, StorageError) as error:
        warn(
            "warning: dmix stored the results of this command, but not yet in the catalog "
            f"({error.message}). The next command that writes adds them. To add them now, run 'dmix "
            f"catalog rebuild --warehouse {shlex.quote(str(warehouse.root))}'"
        )
        return False
    return True


def rebuild(warehouse: Warehouse, *, lock_seconds: float = DEFAULT_TIMEOUT_SECONDS) -> None:
    """Makes the catalog again from what the warehouse holds, whatever the old one was like.

    Raises:
        NotFoundError, LockHeldError, StorageError: As `sync`.
    """
    warehouse.require()
    with _writing(warehouse, lock_seconds):
        _write(warehouse, load_schema(), empty=True)


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
                **_CONFIG,
                "temp_directory": spill,
                "memory_limit": f"{limit_bytes // 1000}KB",
                "max_temp_directory_size": f"{_SPILL_FACTOR * limit_bytes // 1000}KB",
            }
            connection = _open_stored(warehouse, config, allow_io=allow_io)
            if not is_current(connection, schema, database=STORED):
                connection.close()
                sync(warehouse)
                connection = _open_stored(warehouse, config, allow_io=allow_io)
            with closing(connection):
                require_tables(connection, schema, database=STORED)
                with _damage_named(warehouse.catalog):
                    live = _live_runs(connection, warehouse)
                    # what can read files is asked through the views of this program, not of the file
                    if live or allow_io:
                        connection.execute("begin")  # one commit for some 200 small statements
                        _overlay(connection, warehouse, live)
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

        Raises: InputError: If it is not exactly one query, or DuckDB refuses it, or the result is too
        large into memory; the message is DuckDB's. KeyboardInterrupt: If Ctrl-C ended it.
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
                f"{error}\n\nSHOW TABLES lists the views. DESCRIBE lists the columns of a view"
            ) from None
        except duckdb.Error as error:
            raise InputError(str(error)) from None

    def views(self) -> list[str]:
        """Names of the public views, sorted."""
        _, rows = self.query(
            "select view_name from duckdb_views() where not internal and schema_name = 'main'"
            " and database_name = current_database() order by view_name"
        )
        return [name for (name,) in rows]


def export_views(warehouse: Warehouse, folder: Path) -> dict[str, int]:
    """Writes `<view>.parquet` for every public view; each file appears whole or not at all.

    Returns:
        Rows written, by view.

    Raises:
        StorageError: If the disk is full or the folder cannot be written.
        Others: As `Catalog.open_reader`.
    """
    rows = {}
    with storage_errors(str(folder)), Catalog.open_reader(warehouse, allow_io=True) as catalog:
        folder.mkdir(parents=True, exist_ok=True)
        for view in catalog.views():
            temporary = folder / f".{view}.{os.getpid()}.parquet"
            try:
                quoted = str(temporary).replace("'", "''")
                # past `query`, since a folder inside the warehouse is fine here
                copied = catalog._connection.execute(
                    f"copy (from {quoted_name(view)}) to '{quoted}' (format parquet)"
                )
                [(count,)] = copied.fetchall()
                os.replace(temporary, folder / f"{view}.parquet")
            finally:
                temporary.unlink(missing_ok=True)
            rows[view] = int(count)
    return rows


@contextmanager
def _writing(warehouse: Warehouse, lock_seconds: float) -> Iterator[None]:
    """The only writer; copies that it, or a killed one before it, leaves behind are removed."""
    what = f"the catalog of warehouse {warehouse.root}"
    with held_lock(warehouse.lock, what=what, timeout_seconds=lock_seconds), storage_errors(what):
        _remove_copies(warehouse)
        try:
            yield
        finally:
            _remove_copies(warehouse)


def _remove_copies(warehouse: Warehouse) -> None:
    for copy in warehouse.root.glob(".catalog-*"):
        if copy.is_symlink() or not copy.is_dir():
            copy.unlink(missing_ok=True)


def _write(warehouse: Warehouse, schema: Schema, *, empty: bool) -> None:
    """Migrates and fills a copy of the catalog, or an empty one, and publishes it if that changed it."""
    if warehouse.catalog.is_dir():
        raise CatalogError(f"{warehouse.catalog} is a folder, expected a file; remove this folder")
    copy = warehouse.root / f".catalog-{os.getpid()}.duckdb"
    if warehouse.catalog.exists() and not empty:
        shutil.copyfile(warehouse.catalog, copy)
    config = {**_CONFIG, "enable_external_access": False}
    with _damage_named(warehouse.catalog), closing(duckdb.connect(str(copy), config=config)) as connection:
        published = published_units(warehouse)
        refuse_views(connection)
        if is_current(connection, schema):
            if not has_changes(connection, published):
                return
        elif not empty:
            _back_up(connection, warehouse, schema)
        migrate(connection, schema)
        require_tables(connection, schema)
        import_units(connection, warehouse, published)
        rows = _row_counts(connection)
        connection.execute("checkpoint")  # so that a full disk is an error; closing says nothing
    with open(copy, "rb") as file:
        os.fsync(file.fileno())
    _check_whole(copy, schema, rows)
    os.replace(copy, warehouse.catalog)
    # The log of someone who wrote into the old file by hand does not fit the new one.
    warehouse.catalog.with_name(warehouse.catalog.name + ".wal").unlink(missing_ok=True)


def _row_counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows of each table of the catalog that a connection has open."""
    names = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'store'"
    ).fetchall()
    counts = {}
    for (name,) in names:
        [(counts[name],)] = connection.execute(f"select count(*) from store.{quoted_name(name)}").fetchall()
    return counts


def _check_whole(copy: Path, schema: Schema, rows: dict[str, int]) -> None:
    """Returns if a catalog that was just written opens again and holds what was written into it.

    DuckDB (2.0) closes a file without a word when the disk is full. Its tables are then in the log
    beside it, which a reader of the copy takes in and which is not published.

    Raises:
        StorageError: If it does not.
    """
    try:
        if Path(f"{copy}.wal").exists():
            raise CatalogError("some rows are only in the log of the new catalog")
        with closing(duckdb.connect(str(copy), read_only=True, config=_CONFIG)) as connection:
            require_tables(connection, schema)
            if is_current(connection, schema) and _row_counts(connection) == rows:
                return
            said = "the rows of the new catalog differ from the written rows"
    except (duckdb.Error, CatalogError) as error:
        said = str(error).splitlines()[0]
    raise StorageError(
        f"dmix cannot finish the new catalog in {copy.parent} ({said[:200]}) and keeps the old catalog; "
        "free some space, or raise the limit on file sizes, then run the same command again"
    )


def _back_up(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, schema: Schema) -> None:
    """Keeps the published catalog as `catalog.before-NNNN.duckdb` if migration NNNN will change it."""
    waiting = pending(connection, schema)
    if waiting and waiting[0].number > 1:
        backup = warehouse.root / f"catalog.before-{waiting[0].number:04d}.duckdb"
        temporary = warehouse.root / f".catalog-{os.getpid()}.backup"
        shutil.copyfile(warehouse.catalog, temporary)
        os.replace(temporary, backup)
        logger.info("kept the old catalog as %s", backup)


def _open_stored(
    warehouse: Warehouse, config: Mapping[str, Any], *, allow_io: bool
) -> duckdb.DuckDBPyConnection:
    """A connection with the published file attached.

    Nothing of the file has run by then, and unless `allow_io` the connection has no file system any more:
    what the file calls a table or a view may be made by a stranger.
    """
    connection = duckdb.connect(":memory:", config=dict(config))
    try:
        _attach(connection, warehouse.catalog, Path(config["temp_directory"]))
        if not allow_io:
            connection.execute("set enable_external_access = false")
            # without it, an attached file and its log may be written by COPY
            connection.execute("set disabled_filesystems = 'LocalFileSystem'")
        with _damage_named(warehouse.catalog):
            refuse_views(connection, database=STORED)
    except BaseException:
        connection.close()
        raise
    return connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, spill: Path) -> None:
    """Attaches the published file, read only, under the name `STORED`.

    A connection to the file itself would share DuckDB's instance cache with other readers of this
    process, and so show a file that has been replaced since. Where someone has opened the file for
    writing, as the DuckDB shell does unless told otherwise, a copy in `spill` is read instead.
    """
    with _damage_named(path):
        try:
            _attach_file(connection, path)
        except (duckdb.IOException, duckdb.ResourceInUseException) as error:
            if "lock" not in str(error) and "already attached" not in str(error):
                raise
            _attach_file(connection, Path(shutil.copyfile(path, spill / path.name)))


def _attach_file(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(f"attach '{quoted}' as {STORED} (read_only)")


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Turns DuckDB's errors into errors that name the way out."""
    try:
        yield
    except duckdb.Error as error:
        for reason in _NO_SPACE:
            if reason in str(error):
                raise StorageError(
                    f"cannot write {path}: {reason}; free some space, raise the limit on file sizes or choose"
                    " another --warehouse, then run the same command again"
                ) from error
        raise CatalogError(
            f"dmix cannot use catalog {path} ({str(error).splitlines()[0]}); run 'dmix catalog rebuild' "
            "to make it again"
        ) from error


def _live_runs(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> list[Unit]:
    """Runs whose events changed since they were imported, or that were running then."""
    stored = stored_units(connection, database=STORED)
    running = unfinished_runs(connection, database=STORED)
    return changed_units(published_units(warehouse, "run"), stored, running)


def _overlay(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, live: Sequence[Unit]) -> None:
    """Makes schema `store` of the in-memory database: the stored tables, with the rows of `live` runs."""
    connection.execute("create schema store")
    connection.execute("create schema live")
    connection.execute("create table live.replaced (unit varchar)")
    schemas = {table: schema_of(connection, f"{STORED}.store.{table}") for table in RUN_TABLES}
    for table in RUN_TABLES:
        connection.execute(f"create table live.{table} as from {STORED}.store.{table} limit 0")
    for unit in live:
        try:
            tables = arrow_rows(read_unit(warehouse, unit), schemas)
        except DAMAGE as error:
            logger.warning("dmix shows the last imported state of %s: %s", unit.path, error)
            continue
        connection.execute("insert into live.replaced values (?)", [unit.path])
        for table, rows in tables.items():
            insert_rows(connection, f"live.{table}", rows)
    names = connection.execute(
        "select table_name from duckdb_tables() where database_name = ? and schema_name = 'store'", [STORED]
    ).fetchall()
    for (table,) in names:
        of_runs = (
            f" where unit not in (from live.replaced) union all by name from live.{table}"
            if live and table in RUN_TABLES
            else ""
        )
        name = quoted_name(table)
        connection.execute(f"create view store.{name} as from {STORED}.store.{name}{of_runs}")
