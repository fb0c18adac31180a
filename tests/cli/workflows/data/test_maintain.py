"""Each problem of a warehouse has one remedy, by its kind or by the folder that it lies in."""

import pytest

from dmix.cli.workflows.data.maintain import _remedies
from dmix.etl.maintenance.problems import Problem
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.mark.parametrize(
    ("kind", "path", "said"),
    [
        ("orphan", "labels/x.parquet", "dmix etl gc"),
        ("hash", "rejects/x.parquet", "dmix etl classify"),
        ("hash", "streams/abc/x.mds", "dmix etl shard"),
        ("catalog", "catalog.duckdb", "dmix catalog rebuild"),
        ("manifest", "elsewhere/x", "a copy that you trust"),
    ],
)
def test_a_problem_has_the_remedy_of_its_kind_or_folder(tmp_path, kind, path, said):
    assert said in _remedies(Warehouse.at(tmp_path), [Problem(kind=kind, path=path, detail="")])


def test_a_remedy_is_said_once(tmp_path):
    problems = [Problem(kind="orphan", path=f"labels/{i}", detail="") for i in range(3)]
    assert _remedies(Warehouse.at(tmp_path), problems).count("dmix etl gc") == 1
