"""What may be asked of a catalog, and what comes back."""

import warnings

import pyarrow.parquet as pq
import pytest
from tests.warehouse_schema.catalog.asking import ask

from dmix.warehouse_schema.catalog.catalog import Catalog, export_views
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


def test_a_missing_catalog_is_made_by_the_first_reader(full_warehouse):
    assert ask(full_warehouse, "select corpus from corpora") == [("main-source",)]
    assert full_warehouse.catalog.exists()


@pytest.mark.parametrize(
    "sql",
    [
        "from read_csv('{file}')",
        "from read_text('{file}')",
        "from glob('/*')",
        "from '{file}'",
        "select * from sniff_csv('{file}')",
    ],
)
def test_readers_touch_no_file(full_warehouse, tmp_path, sql):
    file = tmp_path / "secret.csv"
    file.write_text("a\n1\n")
    with pytest.raises(InputError, match=r"disabled by configuration|does not exist"):
        ask(full_warehouse, sql.format(file=file))


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("insert into runs (run_id) values ('x')", "got INSERT, but the catalog is read only"),
        ("drop view runs", "got DROP"),
        ("copy runs to '/tmp/x.csv'", "got COPY"),
        ("attach '/tmp/x.duckdb'", "got ATTACH"),
        ("set enable_external_access = true", "got SET"),
        ("select 1; select 2", "got 2 SQL statements, expected 1"),
        ("-- nothing", "got 0 SQL statements, expected 1"),
        ("select nothing from runs", 'Referenced column "nothing" not found'),
        ("from warehouse", "Table with name warehouse does not exist"),
    ],
)
def test_statements_that_do_not_read_the_catalog_are_refused(full_warehouse, sql, message):
    warehouse = full_warehouse
    with pytest.raises(InputError, match=message):
        ask(warehouse, sql)


def test_settings_cannot_be_changed_whatever_the_statement(full_warehouse):
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        with pytest.raises(InputError, match="got SET"):
            catalog.query("set memory_limit = '1GB'")
        with pytest.raises(InputError, match="configuration has been locked"):
            catalog.query("from enable_logging()")


def test_allow_io_lets_statements_read_and_write_files(full_warehouse, tmp_path):
    with Catalog.open_reader(full_warehouse, allow_io=True) as catalog:
        catalog.query(f"copy (select run_id from runs) to '{tmp_path / 'out.csv'}'")
        assert catalog.query(f"from read_csv('{tmp_path / 'out.csv'}')")[1] == [("r1",)]


def test_parameters_are_bound(full_warehouse):
    with Catalog.open_reader(full_warehouse) as catalog:
        columns, rows = catalog.query("select run_id as r from runs where run_id = ?;", ["r1"])
        assert (columns, rows) == (["r"], [("r1",)])
        assert catalog.query("select count(*) from runs where run_id = ?", ["'; drop"])[1] == [(0,)]


def test_a_path_with_a_quote_is_no_problem(tmp_path):
    warehouse = Warehouse.at(tmp_path / "it's here")
    warehouse.root.mkdir()
    assert ask(warehouse, "select count(*) from runs") == [(0,)]
    assert export_views(warehouse, tmp_path / "o'ut")["runs"] == 0


def test_export_writes_every_view_runs_under_way_included(full_warehouse, tmp_path, run_writer):
    run_writer(full_warehouse, "live").start()
    rows = export_views(full_warehouse, tmp_path / "out")
    assert {path.stem for path in (tmp_path / "out").iterdir()} == set(rows)
    assert pq.read_table(tmp_path / "out" / "runs.parquet").num_rows == rows["runs"] == 2
    assert pq.read_table(tmp_path / "out" / "duplicates.parquet").column_names[0] == "dataset"


def test_an_answer_in_arrow_comes_without_the_warnings_of_its_engine(tmp_path):
    (tmp_path / "w").mkdir()
    with Catalog.open_reader(Warehouse.at(tmp_path / "w")) as catalog, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert catalog.arrow("select 1 as one").to_pydict() == {"one": [1]}
