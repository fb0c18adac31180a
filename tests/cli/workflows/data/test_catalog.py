"""The catalog made again and taken elsewhere; a dry run only counts."""

import pytest

from dmix.cli.workflows.data.catalog import export_catalog, rebuild_catalog
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


@pytest.fixture
def warehouse(tmp_path):
    warehouse = Warehouse.at(tmp_path / "w")
    for name in ("a1", "a2"):
        publish_json(warehouse.agent(name) / "config.json", {"preset": "paper"})
    return warehouse


def test_files_are_counted_by_kind_and_a_dry_run_writes_nothing(warehouse):
    lines = []
    planned = rebuild_catalog(warehouse, dry_run=True, progress=lines.append)
    assert not warehouse.catalog.exists()
    made = rebuild_catalog(warehouse, progress=lines.append)
    assert warehouse.catalog.exists()
    assert planned.facts["files"] == made.facts["files"] == {"agent": 2}
    assert [line.split()[0] for line in lines] == ["would", "rebuilt"]


def test_every_view_is_a_file_with_the_rows_that_were_counted(warehouse, tmp_path):
    planned = export_catalog(warehouse, out=tmp_path / "out", dry_run=True, progress=str)
    assert not (tmp_path / "out").exists()
    made = export_catalog(warehouse, out=tmp_path / "out", progress=str)
    assert planned.facts["rows"] == made.facts["rows"] and made.facts["rows"]["agents"] == 2
    assert {path.stem for path in (tmp_path / "out").glob("*.parquet")} == set(made.facts["rows"])


def test_a_warehouse_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError):
        rebuild_catalog(Warehouse.at(tmp_path / "none"), progress=str)
