"""Brings the catalog up to date with its warehouse, `sync`, or makes it again, `rebuild`.

One process writes or many read, so a writer works on a copy and publishes it by a rename, under a lock:
readers, who keep the file that they opened, neither block a writer nor are blocked. Traded away: a sync
copies the whole file, which stays small because vectors are stored as lists.
"""

import logging
import os
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb

from dmix.warehouse_schema.catalog.importing import has_changes, import_units
from dmix.warehouse_schema.catalog.migrate import (
    Schema,
    is_current,
    load_schema,
    migrate,
    pending,
    quoted_name,
    refuse_views,
    require_tables,
)
from dmix.warehouse_schema.catalog.stored import CONFIG, damage_named
from dmix.warehouse_schema.catalog.units import published_units
from dmix.warehouse_schema.errors import CatalogError, LockHeldError, StorageError, first_line
from dmix.warehouse_schema.files.layout import Warehouse, storage_errors
from dmix.warehouse_schema.files.locks import DEFAULT_TIMEOUT_SECONDS, held_lock

logger = logging.getLogger(__name__)

_WRITER_CONFIG = {**CONFIG, "enable_external_access": False}


def sync(
    warehouse: Warehouse,
    *,
    lock_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    template: bytes | None = None,
) -> None:
    """Imports what is new or changed in the warehouse, and forgets what is gone.

    Doing it twice changes nothing. Commands that published something end with `sync_at_end`.

    Args:
        warehouse: The warehouse.
        lock_seconds: How long to wait for another process that writes the catalog.
        template: What a new catalog begins as, made by `empty_catalog`.

    Raises:
        NotFoundError: If the warehouse does not exist.
        LockHeldError: If another process writes the catalog for longer than `lock_seconds`.
        CatalogError: If the catalog is damaged, or newer than this program.
        StorageError: If the disk is full or the folder cannot be written; the old catalog stays.
    """
    warehouse.require()
    with _writing(warehouse, lock_seconds):
        _write(warehouse, load_schema(), empty=False, template=template)


def sync_at_end(
    warehouse: Warehouse,
    *,
    warn: Callable[[str], None],
    lock_seconds: float = DEFAULT_TIMEOUT_SECONDS,
    template: bytes | None = None,
) -> bool:
    """`sync` for a command whose work is published: a catalog that cannot be written does not undo it.

    Args:
        warehouse: The warehouse.
        warn: Receives a line for people if the catalog stays as it was.
        lock_seconds: How long to wait for another process that writes the catalog.
        template: As of `sync`.

    Returns:
        Whether the catalog is up to date.
    """
    try:
        sync(warehouse, lock_seconds=lock_seconds, template=template)
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


def empty_catalog() -> bytes:
    """The file of a catalog without rows."""
    with tempfile.TemporaryDirectory(prefix="dmix-catalog-") as folder:
        path = Path(folder, "empty.duckdb")
        with closing(duckdb.connect(str(path), config=_WRITER_CONFIG)) as connection:
            migrate(connection, load_schema())
        return path.read_bytes()


def _write(warehouse: Warehouse, schema: Schema, *, empty: bool, template: bytes | None = None) -> None:
    """Migrates and fills a copy of the catalog, or an empty one, and publishes it if that changed it."""
    if warehouse.catalog.is_dir():
        raise CatalogError(f"{warehouse.catalog} is a folder, expected a file; remove this folder")
    log = warehouse.catalog.with_name(warehouse.catalog.name + ".wal")
    if log.is_dir() and not log.is_symlink():
        raise CatalogError(f"{log} is a folder, expected a file or nothing; remove this folder")
    copy = warehouse.root / f".catalog-{os.getpid()}.duckdb"
    begun = warehouse.catalog.exists() and not empty
    if begun:
        shutil.copyfile(warehouse.catalog, copy)
    elif template is not None:
        copy.write_bytes(template)
    with (
        damage_named(warehouse.catalog),
        closing(duckdb.connect(str(copy), config=_WRITER_CONFIG)) as connection,
    ):
        published = published_units(warehouse)
        refuse_views(connection)
        if is_current(connection, schema):
            if begun and not has_changes(connection, published):
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
    counts = " union all ".join(f"select ?, count(*) from store.{quoted_name(name)}" for (name,) in names)
    return dict(connection.execute(counts, [name for (name,) in names]).fetchall())


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
        with closing(duckdb.connect(str(copy), read_only=True, config=CONFIG)) as connection:
            require_tables(connection, schema)
            if is_current(connection, schema) and _row_counts(connection) == rows:
                return
            said = "the rows of the new catalog differ from the written rows"
    except (duckdb.Error, CatalogError) as error:
        said = first_line(error)
    raise StorageError(
        f"dmix cannot finish the new catalog in {copy.parent} ({said}) and keeps the old catalog; "
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
