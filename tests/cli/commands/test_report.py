import json

import pytest

from dmix.cli.main import run
from dmix.warehouse_schema.files.events import EventLog
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    place = Warehouse.at(tmp_path / "warehouse")
    place.root.mkdir()
    log = EventLog(place.run("first") / "events.jsonl", run_id="first", attempt=1)
    space = [["source", "News"], ["target", "News"]]
    log.write(
        "run_started", kind="guided", dataset="d", controller="natural", config={"steps": 4}, space=space
    )
    log.write(
        "decision", step=1, asked_N=[0.5, 0.5], planned_N=[0.5, 0.5], planned_samples_N=[4, 4], reasons={}
    )
    return place


def test_report_prints_the_path_and_counts_runs_on_stderr(warehouse, tmp_path, capsys):
    out = tmp_path / "new" / "report.html"
    assert run(["report", "--warehouse", str(warehouse.root), "--run", "first", "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out}\n"
    assert "report on 1 run," in shown.err
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_json_names_file_runs_and_size(warehouse, capsys):
    assert run(["report", "--warehouse", str(warehouse.root), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["path"] == str(warehouse.root / "report.html")
    assert shown["runs"] == ["first"]
    assert shown["running"] == ["first"]
    assert shown["bytes"] == (warehouse.root / "report.html").stat().st_size


def test_settings_come_from_a_file_too(warehouse, tmp_path, capsys):
    out = tmp_path / "named.html"
    config = tmp_path / "report.yaml"
    config.write_text(f"run: [first]\nout: {out}\nwarehouse: {warehouse.root}\n", encoding="utf-8")
    assert run(["report", "--config", str(config)]) == 0
    assert out.is_file()


def test_unknown_run_is_bad_usage_and_lists_the_runs(warehouse, capsys):
    assert run(["report", "--warehouse", str(warehouse.root), "--run", "other"]) == 2
    assert "run 'other' is not in the warehouse (available: first)" in capsys.readouterr().err


def test_missing_warehouse_is_bad_usage(tmp_path, capsys):
    assert run(["report", "--warehouse", str(tmp_path / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_watch_ends_with_the_run_and_says_so(warehouse, capsys):
    log = EventLog(warehouse.run("first") / "events.jsonl", run_id="first", attempt=1)
    log.write("run_done", step=1, detail="")
    assert run(["report", "--warehouse", str(warehouse.root), "--watch"]) == 0
    shown = capsys.readouterr()
    assert "all runs have ended" in shown.err
    assert shown.out == f"{warehouse.root / 'report.html'}\n"


def test_help_shows_an_example(capsys):
    assert run(["report", "--help"]) == 0
    assert "Example: dmix report" in capsys.readouterr().out
