import json
import os

import pyarrow.parquet as pq
import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.files.locks import held_lock


@pytest.fixture
def warehouse(tmp_path, monkeypatch):
    warehouse = Warehouse.at(tmp_path / "w")
    publish_json(warehouse.agent("a1") / "config.json", {"preset": "paper"})
    monkeypatch.setenv("DMIX_WAREHOUSE", str(warehouse.root))
    return warehouse


def test_rebuild_makes_the_catalog_and_counts_its_files(warehouse, capsys):
    assert run(["catalog", "rebuild", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {
        "catalog": str(warehouse.catalog),
        "files": {"agent": 1},
        "dry_run": False,
    }
    assert captured.err == f"rebuilt {warehouse.catalog} from 1 file\n"
    assert warehouse.catalog.exists()


def test_a_dry_run_of_rebuild_writes_nothing(warehouse, capsys):
    assert run(["catalog", "rebuild", "--dry-run"]) == 0
    assert "would rebuild" in capsys.readouterr().err
    assert not warehouse.catalog.exists()


def test_a_held_lock_exits_3_and_names_the_holder(warehouse, capsys):
    with held_lock(warehouse.lock, what="x"):
        assert run(["catalog", "rebuild", "--lock-seconds", "0.1"]) == 3
    assert f"is locked by process {os.getpid()} on " in capsys.readouterr().err


def test_export_writes_parquet_files(warehouse, tmp_path, capsys):
    assert run(["catalog", "export", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["agents"] == 1
    assert pq.read_table(tmp_path / "out" / "agents.parquet").column("agent").to_pylist() == ["a1"]


def test_a_dry_run_of_export_writes_nothing(warehouse, tmp_path, capsys):
    assert run(["catalog", "export", "--out", str(tmp_path / "out"), "--dry-run"]) == 0
    assert "would write" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_export_to_a_file_is_bad_usage(warehouse, tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert run(["catalog", "export", "--out", str(tmp_path / "file")]) == 2
    assert "file' is a file" in capsys.readouterr().err
