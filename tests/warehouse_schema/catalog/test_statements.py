import os

import pytest
from tests.warehouse_schema.catalog.sql_fuzz import tree, try_statements

from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError

RUNS = [("r1",)]


QUERIES = [
    "pivot runs on kind using count(*) group by run_id",
    "PIVOT runs ON kind IN ('guided') USING count(*)",
    "with p as (pivot runs on kind using count(*)) from p;",
    "select * from (pivot runs on kind using count(*)); -- all; of them",
    "unpivot (select 1 as a, 2 as b) on a, b",
    "describe runs",
    "summarize runs",
    "show tables",
    "values (1)",
    "table runs",
    "explain from runs",
    "explain analyze select 1",
    "EXPLAIN (ANALYZE, FORMAT JSON) select 1",
    "explain pivot runs on kind using count(*)",
    "/* a */ explain -- b\n analyze (select 1)",
    "select 'insert into x' as \"copy\"",
    "with recursive r as (select 1 as a union all select a + 1 from r where a < 9) from r",
]

OTHERS = [
    ("explain analyze copy (select 1) to '{file}'", "EXPLAIN of a statement that is not a query"),
    ("explain create table a (b integer)", "EXPLAIN of a statement"),
    ("explain analyze create table a as pivot runs on kind using count(*)", "EXPLAIN of a statement"),
    ("with c as (copy (select 1) to '{file}') from c", "a query that writes"),
    ("explain analyze with c as (copy (select 1) to '{file}') from c", "EXPLAIN of a statement"),
    ("with c as (insert into runs values (1) returning *) from c", "a query that writes"),
    ("create table a as pivot runs on kind using count(*)", "a query that writes"),
    ("with p as (pivot runs on kind using count(*)), c as (copy runs to '{file}') from c", "that writes"),
    ("copy (pivot runs on kind using count(*)) to '{file}'", "a query that writes"),
    ("pragma enable_profiling", "got PRAGMA"),
    ("update extensions", "got UPDATE"),
    ("call pragma_version()", "got CALL"),
    ("import database '{file}'", "got PRAGMA"),
    ("select " + "(" * 300 + "1" + ")" * 300, "has brackets"),
    ("select '\udcff'", "not UTF-8"),
    ("select " + "1," * 200_000 + "1", "characters"),
]

NAMES_OF_THE_WAREHOUSE = [
    "{root}/catalog.duckdb",
    "{root}/catalog.duckdb.wal",
    "file://{root}/catalog.duckdb",
    "{root}/../{base}/catalog.duckdb",
    "{parent}/link/catalog.duckdb",
    "{parent}/hard.csv",
    "{root}/runs/r1/events.jsonl",
    "{parent}",
]

REFUSED_WITH_IO = [
    "copy (select 1) to ('{file}' || '')",
    "copy (select 1) to e'{file}'",
    "copy (with c as (copy (select 1) to '{file}') from c) to '{other}'",
    "attach '{file}' as a",
    "export database '{file}'",
    "explain analyze copy (select 1) to '{file}'",
]


def test_every_form_of_a_query_runs(full_warehouse):
    with Catalog.open_reader(full_warehouse) as catalog:
        for sql in QUERIES:
            assert catalog.query(sql)[1], sql
            assert catalog.query("select run_id from runs")[1] == RUNS


def test_what_is_no_query_is_refused_and_writes_nothing(full_warehouse, tmp_path):
    file = tmp_path / "out.csv"
    with Catalog.open_reader(full_warehouse) as catalog:
        for sql, message in OTHERS:
            with pytest.raises(InputError, match=message):
                catalog.query(sql.replace("{file}", str(file)))
            assert not file.exists(), sql


def test_the_catalog_and_its_log_cannot_be_written_even_past_the_check(full_warehouse):
    sync(full_warehouse)
    before = tree(full_warehouse.root)
    with Catalog.open_reader(full_warehouse) as catalog:
        for name in (full_warehouse.catalog, f"{full_warehouse.catalog}.wal"):
            with pytest.raises(Exception, match="disabled by configuration"):
                catalog._connection.execute(f"copy (select 1) to '{name}'")
    assert tree(full_warehouse.root) == before


def test_copy_with_io_cannot_touch_the_warehouse(full_warehouse):
    sync(full_warehouse)
    root = full_warehouse.root
    (root.parent / "link").symlink_to(root)
    os.link(full_warehouse.catalog, root.parent / "hard.csv")
    before = tree(root)
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        for pattern in NAMES_OF_THE_WAREHOUSE:
            name = pattern.format(root=root, base=root.name, parent=root.parent)
            for options in ("", " (format csv, use_tmp_file false)"):
                with pytest.raises(InputError, match="which the warehouse uses"):
                    catalog.query(f"copy (select 1) to '{name}'{options}")
    assert tree(root) == before


def test_with_io_only_queries_and_copy_to_a_plain_name_run(full_warehouse, tmp_path):
    sync(full_warehouse)
    before = tree(tmp_path)
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        for sql in REFUSED_WITH_IO:
            with pytest.raises(InputError):
                catalog.query(sql.format(file=full_warehouse.catalog, other=tmp_path / "other.csv"))
    assert tree(tmp_path) == before


def test_no_option_of_copy_leads_into_the_warehouse(full_warehouse, tmp_path):
    sync(full_warehouse)
    before, folder = tree(full_warehouse.root), tmp_path / "out"
    folder.mkdir()
    up = f"../../../../{full_warehouse.root}"
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        for options in (
            f"per_thread_output true, filename_pattern '{up}/x_{{i}}'",
            f"per_thread_output true, overwrite true, file_extension '/{up}/catalog.duckdb'",
            f"file_size_bytes 1, \"FILENAME_PATTERN\" '{up}/x'",
        ):
            with pytest.raises(InputError, match="outside its folder"):
                catalog.query(f"copy (select 1) to '{folder}' (format csv, {options})")
        assert catalog.query("select 1 as filename_pattern")[1] == [(1,)]
    assert tree(full_warehouse.root) == before


@pytest.mark.parametrize("allow_io", [False, True])
def test_two_hundred_random_statements_write_nothing(full_warehouse, tmp_path, allow_io):
    sync(full_warehouse)
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "a.csv").write_text("x\n1\n")
    found = try_statements(full_warehouse, victim, count=100, seed=int(allow_io), allow_io=allow_io)
    assert found["answered"] > 5 and found["refused"] > 30


def test_copy_goes_through_no_link_in_its_folder(full_warehouse, tmp_path):
    sync(full_warehouse)
    root = full_warehouse.root
    [labels, *_] = sorted(path for path in root.rglob("*") if path.is_file() and path.parent != root)
    (tmp_path / "out" / "b").mkdir(parents=True)
    (tmp_path / "out" / "a=1").symlink_to(labels.parent)
    (tmp_path / "second" / "a=1").mkdir(parents=True)
    os.link(labels, tmp_path / "second" / "a=1" / "data_0.csv")
    before = tree(root)
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        for folder in ("out", "second"):
            for how in ("overwrite", "overwrite_or_ignore", "append"):
                with pytest.raises(InputError, match=r"through the link .*a=1"):
                    catalog.query(
                        f"copy (select 1 as a, 2 as b) to '{tmp_path / folder}' (format csv, "
                        f"partition_by (a), {how})"
                    )
        with pytest.raises(InputError, match="through the link"):
            name = tmp_path / "second" / "a=1" / "data_0.csv"
            catalog.query(f"copy (select 1) to '{name}' (format csv, use_tmp_file false)")
        catalog.query(f"copy (select 1 as a, 2 as b) to '{tmp_path / 'new'}' (format csv, partition_by (a))")
    assert tree(root) == before and (tmp_path / "new").is_dir()
