"""Catalogs that a stranger made: names that are SQL, and views that read files."""

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dmix.warehouse_schema.catalog.catalog import Catalog, export_views
from dmix.warehouse_schema.catalog.sync import rebuild, sync
from dmix.warehouse_schema.errors import CatalogError, DmixError


@pytest.fixture
def secret(tmp_path):
    file = tmp_path / "secret.txt"
    file.write_text("of the user")
    return file


def altered(warehouse, *statements):
    sync(warehouse)
    with duckdb.connect(str(warehouse.catalog)) as connection:
        for sql in statements:
            connection.execute(sql)
    return warehouse


def named(text):
    return '"' + text.replace('"', '""') + '"'


def test_the_name_of_a_view_is_no_sql_for_who_brings_the_catalog_up_to_date(full_warehouse, tmp_path):
    target = tmp_path / "planted"
    name = f"main\".\"zz\"; copy (select 'evil') to '{target}' (format csv); --"
    altered(
        full_warehouse,
        f"create view {named(name)} as select 1 as a",
        "create view zz as select 1 as a",
        "update meta.applied_views set sha256 = 'of another dmix'",
    )
    with Catalog.open_reader(full_warehouse) as catalog:
        assert catalog.query("select run_id from runs")[1] == [("r1",)]
        assert name not in catalog.views()
    assert not target.exists()


def test_the_name_of_a_view_is_no_sql_for_an_export(full_warehouse, tmp_path):
    target = tmp_path / "planted"
    name = f"runs) to '{target}' (format csv); --"
    altered(full_warehouse, f"create view {named(name)} as select 1 as a")
    assert name not in export_views(full_warehouse, tmp_path / "out")
    assert not target.exists()


def test_an_export_takes_no_view_of_the_file(full_warehouse, tmp_path, secret):
    altered(
        full_warehouse,
        f"create or replace view runs as select content as run_id from read_text('{secret}')",
    )
    export_views(full_warehouse, tmp_path / "out")
    assert pq.read_table(tmp_path / "out" / "runs.parquet")["run_id"].to_pylist() == ["r1"]
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        assert catalog.query("select run_id from runs")[1] == [("r1",)]
    with Catalog.open_reader(full_warehouse) as catalog, pytest.raises(DmixError, match="disabled"):
        catalog.query("from runs")


@pytest.mark.parametrize(("schema", "table"), [("meta", "migrations"), ("store", "units")])
@pytest.mark.parametrize("allow_io", [False, True])
def test_a_view_in_the_place_of_a_table_is_not_read(full_warehouse, secret, schema, table, allow_io):
    altered(
        full_warehouse,
        f"create table {schema}.moved as from {schema}.{table}",
        f"drop table {schema}.{table} cascade",
        f"create view {schema}.{table} as select m.* from {schema}.moved m,"
        f" (select error(content) as e from read_text('{secret}')) where e is null",
    )
    with pytest.raises(CatalogError, match=rf"a view '{schema}\.{table}'.*dmix catalog rebuild"):
        Catalog.open_reader(full_warehouse, allow_io=allow_io)
    with pytest.raises(CatalogError, match="dmix catalog rebuild"):
        sync(full_warehouse)
    rebuild(full_warehouse)
    with Catalog.open_reader(full_warehouse, allow_io=allow_io) as catalog:
        assert catalog.query("select run_id from runs")[1] == [("r1",)]


@pytest.mark.parametrize("place", ["../secret.parquet", "/{root}/secret.parquet", "rejects/main-source/link"])
def test_a_reject_file_that_a_catalog_puts_elsewhere_is_not_read(full_warehouse, tmp_path, caplog, place):
    rows = {"path": ["/a.jsonl"], "position": [1], "reason": ["of the user"], "detail": [None]}
    pq.write_table(pa.table(rows), tmp_path / "secret.parquet")
    if place.endswith("link"):
        (full_warehouse.rejects("main-source") / "link").symlink_to(tmp_path)
        place += "/secret.parquet"
    altered(full_warehouse, f"update store.reject_files set path = '{place.format(root=tmp_path)}'")
    sync(full_warehouse)
    with Catalog.open_reader(full_warehouse) as catalog:
        assert "of the user" not in str(catalog.query("from rejects")[1])


def test_a_file_of_an_unknown_kind_leaves_the_catalog(full_warehouse):
    altered(full_warehouse, "insert into store.units values ('gone.json', 'of another dmix', 1, 1)")
    sync(full_warehouse)
    with duckdb.connect(str(full_warehouse.catalog), read_only=True) as connection:
        assert connection.execute("from store.units where unit = 'gone.json'").fetchall() == []
