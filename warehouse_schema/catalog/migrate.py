"""Brings a catalog file to the schema of this program: numbered migrations, then the views.

Migrations (`migrations/NNNN_name.sql`) make and change the tables of schema `store`; an applied
one is never edited, and its checksum says so. Views (`views/<name>.sql`) hold no data: they are
dropped and made again whenever a migration ran or one of their files changed.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable

import duckdb

from dmix.warehouse_schema.errors import CatalogError, first_line

_CREATED = re.compile(r"^create table store\.(\w+)", re.MULTILINE)
_LEDGER = """
create schema if not exists meta;
create table if not exists meta.migrations (
    number integer primary key,
    name varchar not null,
    sha256 varchar not null,
    applied_at timestamp not null default (now() at time zone 'UTC')
);
create table if not exists meta.applied_views (sha256 varchar not null);
"""


@dataclass(frozen=True)
class Migration:
    """One forward step of the schema.

    Attributes:
        number: Position in the order, from 1 without gaps.
        name: File name without number and ending.
        sql: Statements that make the step.
    """

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True)
class View:
    """One public view: its name, and the statements that make it and comment it."""

    name: str
    sql: str


@dataclass(frozen=True)
class Schema:
    """What a catalog is brought to.

    Attributes:
        migrations: In order of their numbers.
        views: In order of their names.
    """

    migrations: tuple[Migration, ...]
    views: tuple[View, ...]

    @property
    def views_sha256(self) -> str:
        return hashlib.sha256("\0".join(view.sql for view in self.views).encode()).hexdigest()


def load_schema(folder: Traversable | None = None) -> Schema:
    """The schema of the files in `migrations/` and `views/` below `folder`, the package by default.

    Raises:
        CatalogError: If the numbers of the migrations have a gap or one comes twice.
    """
    folder = folder or resources.files("dmix.warehouse_schema.catalog")
    migrations = []
    for file in _sql_files(folder / "migrations"):
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name)
        if match is None:
            raise CatalogError(f"migration {file.name} is not named NNNN_name.sql; rename it")
        migrations.append(Migration(int(match[1]), match[2], file.read_text(encoding="utf-8")))
    numbers = [migration.number for migration in migrations]
    if numbers != list(range(1, len(numbers) + 1)):
        raise CatalogError(f"migrations are numbered {numbers}, expected 1, 2, 3 … without gaps")
    views = [
        View(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in _sql_files(folder / "views")
    ]
    return Schema(tuple(migrations), tuple(views))


def pending(
    connection: duckdb.DuckDBPyConnection, schema: Schema, *, database: str | None = None
) -> list[Migration]:
    """Migrations that the catalog lacks; the whole list for an empty one.

    Args:
        connection: A connection to the catalog, read only or not.
        schema: What this program knows.
        database: Name of the attached catalog, where it is not the connection's default.

    Raises:
        CatalogError: If the catalog is newer than the program, or an applied migration has changed.
    """
    applied = _ledger_rows(connection, "migrations", "number, name, sha256", database)
    known = {migration.number: migration for migration in schema.migrations}
    for number, name, sha256 in sorted(applied):
        if number not in known:
            raise CatalogError(
                f"a newer dmix made the catalog: it has migration {number:04d} ({name}), but this dmix "
                f"has only {len(known)} migrations; update dmix, or run 'dmix catalog rebuild'"
            )
        if known[number].sha256 != sha256:
            raise CatalogError(
                f"migration {number:04d} ({name}) has changed from {sha256[:12]} to "
                f"{known[number].sha256[:12]} since dmix made the catalog; run 'dmix catalog rebuild'"
            )
    done = {number for number, _, _ in applied}
    return [migration for migration in schema.migrations if migration.number not in done]


def is_current(connection: duckdb.DuckDBPyConnection, schema: Schema, *, database: str | None = None) -> bool:
    """True if the catalog has all migrations and the views of `schema`; raises as `pending` does."""
    if pending(connection, schema, database=database):
        return False
    return _ledger_rows(connection, "applied_views", "sha256", database) == [(schema.views_sha256,)]


def require_tables(
    connection: duckdb.DuckDBPyConnection, schema: Schema, *, database: str | None = None
) -> None:
    """Returns if the catalog has every table that its migrations made, as a table.

    Raises:
        CatalogError: If one is missing, or is a view.
    """
    rows = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'store'"
        " and database_name = coalesce(?, current_database())",
        [database],
    ).fetchall()
    made = [name for step in schema.migrations for name in _CREATED.findall(step.sql)]
    missing = sorted(set(made) - {name for (name,) in rows})
    if missing:
        raise CatalogError(
            f"the catalog has no tables {', '.join(missing)}; run 'dmix catalog rebuild' to make it again"
        )


def refuse_views(connection: duckdb.DuckDBPyConnection, *, database: str | None = None) -> None:
    """Returns if the tables that dmix reads are tables; a view in their place may read any file.

    Call it before anything else is read of a catalog, since its file may be a stranger's.

    Raises:
        CatalogError: If there is such a view.
    """
    found = connection.execute(
        "select schema_name, view_name from duckdb_views() where schema_name in ('store', 'meta')"
        " and database_name = coalesce(?, current_database()) order by all",
        [database],
    ).fetchall()
    if found:
        raise CatalogError(
            f"the catalog has a view {'.'.join(found[0])!r} instead of a table, and dmix never writes "
            "this; run 'dmix catalog rebuild' to make it again"
        )


def quoted_name(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def migrate(connection: duckdb.DuckDBPyConnection, schema: Schema) -> None:
    """Applies what is pending, and the views, in one transaction: all of it or nothing.

    Raises:
        CatalogError: If the catalog is newer than the program, an applied migration has changed, or
            a statement fails.
    """
    if is_current(connection, schema):
        return
    waiting = pending(connection, schema)
    connection.execute("begin")
    try:
        connection.execute(_LEDGER)
        for migration in waiting:
            connection.execute(migration.sql)
            connection.execute(
                "insert into meta.migrations (number, name, sha256) values (?, ?, ?)",
                [migration.number, migration.name, migration.sha256],
            )
        apply_views(connection, schema)
        connection.execute("delete from meta.applied_views")
        connection.execute("insert into meta.applied_views values (?)", [schema.views_sha256])
        connection.execute("commit")
    except duckdb.Error as error:
        connection.execute("rollback")
        names = ", ".join(f"{m.number:04d}_{m.name}" for m in waiting) or "views"
        raise CatalogError(
            f"dmix cannot apply {names} ({first_line(error)}); the catalog is unchanged"
        ) from error


def apply_views(connection: duckdb.DuckDBPyConnection, schema: Schema) -> None:
    """Drops the views of the current database and makes those of `schema`, comments included."""
    existing = connection.execute(
        "select view_name from duckdb_views()"
        " where not internal and schema_name = 'main' and database_name = current_database()"
    ).fetchall()
    for (name,) in existing:
        connection.execute(f"drop view {quoted_name(name)}")
    for view in schema.views:
        connection.execute(view.sql)


def _sql_files(folder: Traversable) -> Sequence[Traversable]:
    return sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda file: file.name)


def _ledger_rows(
    connection: duckdb.DuckDBPyConnection, table: str, columns: str, database: str | None
) -> list[tuple]:
    """Rows of a table of the ledger; none if the catalog has no ledger yet."""
    place = f'"{database}".meta.{table}' if database else f"meta.{table}"
    try:
        # duckdb_tables() would load the whole schema to tell whether the table is there
        return connection.execute(f"select {columns} from {place}").fetchall()
    except duckdb.CatalogException:
        return []
