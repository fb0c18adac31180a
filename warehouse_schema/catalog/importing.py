"""Brings the tables of a catalog up to what the warehouse shows: reads what is new or changed.

Every row carries the path of the file that it came from, so a change is a delete and an insert,
and a file that went away takes its rows along. A file that cannot be read is named in a warning
and left out, and tried again next time: one damaged file must not hide all others.

Arrow is imported where rows are made: a reader of a catalog that is up to date needs none, and its import
is a quarter of the time that `dmix sql` takes.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from dmix.warehouse_schema.catalog.units import RUN_TABLES, Rows, Unit, read_unit
from dmix.warehouse_schema.errors import DmixError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.names import inner_path

if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger(__name__)

# What reading a damaged file raises; Arrow's errors are ValueErrors.
DAMAGE = (DmixError, OSError, LookupError, TypeError, ValueError, AttributeError, OverflowError)

# Tables that a kind of unit fills; a Parquet kind fills the one table of its name.
TABLES = {
    "corpus": ("corpora", "generations", "reject_files", "taxonomies"),
    "dataset": ("datasets", "streams", "taxonomies"),
    "duplicates_screening": ("screenings",),
    "contamination_screening": ("screenings",),
    "duplicates": ("duplicates",),
    "contamination": ("contamination",),
    "set": ("sets",),
    "agent": ("agents",),
    "run": RUN_TABLES,
    "evaluation": ("evaluations",),
    "model_start_state": ("start_state_estimates", "start_state_domains", "start_state_curves"),
    "effect_set": ("effect_sets", "effect_objectives"),
    "effects": ("effects",),
    "trajectories": ("trajectories",),
    "feedback": ("feedback",),
    "rejects": ("rejects",),
}
# Parts of the path of a reject file: rejects/<corpus>/<fingerprint>/<file>.
_REJECT_PARTS = 4
_PARQUET_KINDS = ("trajectories", "feedback", "rejects", "duplicates", "contamination", "effects")
# Columns that files of an earlier dmix do not have; a file that lacks another one is damaged.
_ADDED = {"variation", "domain"}
# Rows are inserted once this many have gathered: few statements, bounded memory.
_ROWS_AT_ONCE = 200_000


def stored_units(connection: duckdb.DuckDBPyConnection, *, database: str | None = None) -> dict[str, Unit]:
    """Units whose rows the catalog holds, by path; rejects are left out."""
    place = f'"{database}".store.units' if database else "store.units"
    rows = connection.execute(
        f"select unit, kind, size_bytes, mtime_ns from {place} where kind <> 'rejects'"
    ).fetchall()
    return {path: Unit(path, kind, size, mtime) for path, kind, size, mtime in rows}


def unfinished_runs(connection: duckdb.DuckDBPyConnection, *, database: str | None = None) -> set[str]:
    """Units of runs that were running when they were imported: they can become stale in silence."""
    place = f'"{database}".store.runs' if database else "store.runs"
    rows = connection.execute(f"select unit from {place} where status = 'running'").fetchall()
    return {unit for (unit,) in rows}


def changed_units(
    published: Mapping[str, Unit], stored: Mapping[str, Unit], running: Iterable[str]
) -> list[Unit]:
    """Published units that have to be read again."""
    running = set(running)
    return [unit for path, unit in published.items() if stored.get(path) != unit or path in running]


def has_changes(connection: duckdb.DuckDBPyConnection, published: Mapping[str, Unit]) -> bool:
    """True if `import_units` would change something."""
    return stored_units(connection) != published or bool(unfinished_runs(connection))


def import_units(
    connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, published: Mapping[str, Unit]
) -> None:
    """Makes the tables hold what `published` says, in one transaction.

    Args:
        connection: A migrated catalog, open for writing.
        warehouse: Where the units lie.
        published: All units that there are, by path.
    """
    stored = stored_units(connection)
    changed = changed_units(published, stored, unfinished_runs(connection))
    gone = [unit for path, unit in stored.items() if path not in published]
    connection.execute("begin")
    _delete(connection, [*gone, *(stored[u.path] for u in changed if u.path in stored)])
    _insert_all(connection, warehouse, changed)
    _import_rejects(connection, warehouse)
    connection.execute("commit")


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: "pa.Table") -> None:
    """Appends an Arrow table to a table by the names of its columns."""
    connection.register("incoming", rows)
    connection.execute(f"insert into {table} by name select * from incoming")
    connection.unregister("incoming")


def schema_of(connection: duckdb.DuckDBPyConnection, table: str) -> "pa.Schema":
    """Arrow names and types of the columns of a table."""
    return connection.sql(f"from {table} limit 0").to_arrow_table().schema


class _Schemas(dict[str, "pa.Schema"]):
    """Schemas of stored tables by name; the catalog is asked for those that are needed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def __missing__(self, table: str) -> "pa.Schema":
        self[table] = found = schema_of(self._connection, f"store.{table}")
        return found


def arrow_rows(rows: Rows, schemas: Mapping[str, "pa.Schema"]) -> dict[str, "pa.Table"]:
    """`rows` as Arrow tables.

    Raises:
        ValueError, TypeError: If a value does not fit its column.
    """
    import pyarrow as pa

    return {
        table: pa.Table.from_pylist(found, schema=schemas[table]) for table, found in rows.items() if found
    }


def _delete(connection: duckdb.DuckDBPyConnection, units: Iterable[Unit]) -> None:
    paths_by_kind = defaultdict(list)
    for unit in units:
        paths_by_kind[unit.kind].append(unit.path)
    for kind, paths in paths_by_kind.items():
        for table in (*TABLES.get(kind, ()), "units"):
            connection.execute(f"delete from store.{table} where unit in (select unnest(?))", [paths])


def _insert_all(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, units: Iterable[Unit]) -> None:
    schemas = _Schemas(connection)
    waiting: dict[str, list[pa.Table]] = defaultdict(list)
    gathered = 0
    for table, rows in _arrow_tables(warehouse, units, schemas):
        waiting[table].append(rows)
        gathered += len(rows)
        if gathered >= _ROWS_AT_ONCE:
            _flush(connection, waiting)
            gathered = 0
    _flush(connection, waiting)


def _flush(connection: duckdb.DuckDBPyConnection, waiting: dict[str, list["pa.Table"]]) -> None:
    import pyarrow as pa

    for table, tables in waiting.items():
        insert_rows(connection, f"store.{table}", pa.concat_tables(tables))
    waiting.clear()


def _arrow_tables(
    warehouse: Warehouse, units: Iterable[Unit], schemas: Mapping[str, "pa.Schema"]
) -> Iterator[tuple[str, "pa.Table"]]:
    """Rows of every readable unit by table, and its own row in `units`."""
    import pyarrow as pa

    for unit in units:
        try:
            if unit.kind in _PARQUET_KINDS:
                tables = {unit.kind: _parquet_rows(warehouse, unit, schemas[unit.kind])}
            else:
                tables = arrow_rows(read_unit(warehouse, unit), schemas)
        except DAMAGE as error:
            logger.warning("the catalog leaves out %s: %s", unit.path, error)
            continue
        yield from tables.items()
        stamp = {
            "unit": unit.path,
            "kind": unit.kind,
            "size_bytes": unit.size_bytes,
            "mtime_ns": unit.mtime_ns,
        }
        yield "units", pa.Table.from_pylist([stamp], schema=schemas["units"])


def _is_reject_file(warehouse: Warehouse, path: str) -> bool:
    """Whether a path is that of a reject file below the warehouse, reached through no link."""
    try:
        first, corpus, *_ = inner_path(path, what="reject file", where=warehouse.catalog).split("/")
        folder = warehouse.rejects(corpus)
        fine = first == "rejects" and len(Path(path).parts) == _REJECT_PARTS
    except (DmixError, ValueError) as error:
        logger.warning("a reject file is left out of the catalog: %s", error)
        return False
    places = (folder, *(warehouse.root / path, (warehouse.root / path).parent))
    return fine and not any(place.is_symlink() for place in places)


def _parquet_rows(warehouse: Warehouse, unit: Unit, schema: "pa.Schema") -> "pa.Table":
    """A Parquet unit as rows of its table; what stands in the folder's name is added."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = {"unit": unit.path, "set_name": unit.folder, "screening": unit.folder, "name": unit.folder}
    file = pq.ParquetFile(warehouse.root / unit.path)
    wanted = [name for name in schema.names if name not in known]
    found = file.read(columns=[name for name in wanted if name in file.schema_arrow.names])
    for name in known.keys() & set(schema.names):
        found = found.append_column(name, pa.array([known[name]] * len(found), pa.string()))
    for name in _ADDED & set(schema.names) - set(found.column_names):
        found = found.append_column(name, pa.nulls(len(found), schema.field(name).type))
    return found.select(schema.names).cast(schema)


def _import_rejects(connection: duckdb.DuckDBPyConnection, warehouse: Warehouse) -> None:
    """Reads reject files that a version names, drops those that none names any more.

    The names come from a stored catalog, which may be a stranger's.
    """
    named = connection.execute("select distinct path from store.reject_files").fetchall()
    wanted = {path for (path,) in named if _is_reject_file(warehouse, path)}
    held = {
        path
        for (path,) in connection.execute("select unit from store.units where kind = 'rejects'").fetchall()
    }
    _delete(connection, [Unit(path, "rejects", 0, 0) for path in held - wanted])
    units = []
    for path in sorted(wanted - held):
        try:
            units.append(Unit.of(warehouse, warehouse.root / path, "rejects"))
        except OSError as error:
            logger.warning("the catalog leaves out %s: %s", path, error)
    _insert_all(connection, warehouse, units)
