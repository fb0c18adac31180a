"""The published catalog as readers see it: the file attached read only, with runs under way over it.

A reader locks itself out of the file system before it asks the file anything.
"""

import errno
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb

from dmix.warehouse_schema.catalog.importing import (
    DAMAGE,
    arrow_rows,
    changed_units,
    insert_rows,
    schema_of,
    stored_units,
    unfinished_runs,
)
from dmix.warehouse_schema.catalog.migrate import quoted_name, refuse_views
from dmix.warehouse_schema.catalog.units import RUN_TABLES, Unit, published_units, read_unit
from dmix.warehouse_schema.errors import CatalogError, StorageError, first_line
from dmix.warehouse_schema.files.layout import Warehouse

logger = logging.getLogger(__name__)

# Name under which readers attach the published file; the database over it is called `memory`.
STORED = "catalog"

CONFIG = {"python_enable_replacements": False, "autoinstall_known_extensions": False}
"""Settings of every connection to a catalog."""

# What DuckDB repeats of the system when a file cannot grow.
_NO_SPACE = tuple(map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)))


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
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
            f"dmix cannot use catalog {path} ({first_line(error)}); run 'dmix catalog rebuild' "
            "to make it again"
        ) from error


def open_stored(
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
        with damage_named(warehouse.catalog):
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
    with damage_named(path):
        try:
            _attach_file(connection, path)
        except (duckdb.IOException, duckdb.ResourceInUseException) as error:
            if "lock" not in str(error) and "already attached" not in str(error):
                raise
            _attach_file(connection, Path(shutil.copyfile(path, spill / path.name)))


def _attach_file(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    quoted = str(path).replace("'", "''")
    connection.execute(f"attach '{quoted}' as {STORED} (read_only)")


def live_runs(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> list[Unit]:
    """Runs whose events changed since they were imported, or that were running then."""
    stored = stored_units(connection, database=STORED)
    running = unfinished_runs(connection, database=STORED)
    return changed_units(published_units(warehouse, "run"), stored, running)


def overlay(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, live: Sequence[Unit]) -> None:
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
