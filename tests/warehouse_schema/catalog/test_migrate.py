from dataclasses import replace

import duckdb
import pytest

from dmix.warehouse_schema.catalog.migrate import (
    Migration,
    Schema,
    View,
    is_current,
    load_schema,
    migrate,
    pending,
)
from dmix.warehouse_schema.errors import CatalogError

FIRST = Migration(1, "first", "create schema store; create table store.a (x integer);")
SECOND = Migration(2, "second", "alter table store.a add column y integer;")
VIEW = View("v", "create view v as from store.a; comment on view v is 'rows of a';")


@pytest.fixture
def connection():
    with duckdb.connect(":memory:") as connection:
        yield connection


def view_names(connection):
    return [
        n for (n,) in connection.execute("select view_name from duckdb_views() where not internal").fetchall()
    ]


def test_migrations_run_once_and_in_order(connection):
    migrate(connection, Schema((FIRST,), ()))
    connection.execute("insert into store.a values (1)")
    migrate(connection, Schema((FIRST, SECOND), (VIEW,)))
    migrate(connection, Schema((FIRST, SECOND), (VIEW,)))
    assert connection.execute("from v").fetchall() == [(1, None)]
    rows = connection.execute("select number, name, sha256 from meta.migrations order by number").fetchall()
    assert rows == [(1, "first", FIRST.sha256), (2, "second", SECOND.sha256)]


def test_an_empty_catalog_lacks_all_migrations(connection):
    assert pending(connection, Schema((FIRST, SECOND), ())) == [FIRST, SECOND]


def test_a_failing_migration_changes_nothing(connection):
    migrate(connection, Schema((FIRST,), (VIEW,)))
    broken = Migration(2, "broken", "create table store.b (x integer); select * from nowhere;")
    with pytest.raises(
        CatalogError, match=r"cannot apply 0002_broken \(.*nowhere.*\); the catalog is unchanged"
    ):
        migrate(connection, Schema((FIRST, broken), ()))
    tables = connection.execute(
        "select table_name from duckdb_tables() where schema_name = 'store'"
    ).fetchall()
    assert tables == [("a",)]
    assert view_names(connection) == ["v"]
    assert is_current(connection, Schema((FIRST,), (VIEW,)))


def test_a_changed_migration_is_refused(connection):
    migrate(connection, Schema((FIRST,), ()))
    changed = replace(FIRST, sql=FIRST.sql + " -- edited")
    with pytest.raises(CatalogError, match=r"migration 0001 \(first\) has changed from"):
        migrate(connection, Schema((changed,), ()))


def test_a_newer_catalog_is_refused(connection):
    migrate(connection, Schema((FIRST, SECOND), ()))
    with pytest.raises(
        CatalogError, match=r"has migration 0002 \(second\), but this dmix has only 1 migrations; update"
    ):
        migrate(connection, Schema((FIRST,), ()))


def test_changed_and_removed_views_are_applied_without_a_migration(connection):
    old = View("old", "create view old as select 1 as one;")
    migrate(connection, Schema((FIRST,), (VIEW, old)))
    changed = View("v", "create view v as select x, x + 1 as next from store.a;")
    assert not is_current(connection, Schema((FIRST,), (changed,)))
    migrate(connection, Schema((FIRST,), (changed,)))
    assert view_names(connection) == ["v"]
    assert connection.execute("select count(next) from v").fetchone() == (0,)


def test_a_view_that_needs_a_new_column_is_made_again_after_its_migration(connection):
    migrate(connection, Schema((FIRST,), (VIEW,)))
    migrate(connection, Schema((FIRST, SECOND), (VIEW,)))
    assert [row[0] for row in connection.execute("describe v").fetchall()] == ["x", "y"]


def test_gaps_and_odd_names_of_migration_files_are_refused(tmp_path):
    (tmp_path / "migrations").mkdir()
    (tmp_path / "views").mkdir()
    (tmp_path / "migrations" / "0002_b.sql").write_text("select 1")
    with pytest.raises(CatalogError, match=r"numbered \[2\], expected 1, 2, 3"):
        load_schema(tmp_path)
    (tmp_path / "migrations" / "first.sql").write_text("select 1")
    with pytest.raises(CatalogError, match=r"first\.sql is not named NNNN_name\.sql"):
        load_schema(tmp_path)


def test_the_schema_of_the_package_loads():
    schema = load_schema()
    assert schema.migrations[0].name == "store"
    assert len(schema.views) >= 18
