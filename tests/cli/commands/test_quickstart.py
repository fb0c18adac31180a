import json
import os

import pytest

from dmix.cli.commands import quickstart
from dmix.cli.main import run
from dmix.warehouse_schema.errors import InterruptedRunError


@pytest.fixture
def tiny(monkeypatch):
    """The same chain with less of everything."""
    for name, value in {"BASE_TOKENS": 8_000, "STEPS": 2, "STEP_SAMPLES": 16, "DEMO_DOCUMENTS": 500}.items():
        monkeypatch.setattr(quickstart, name, value)


def chain(out, capsys, *options):
    assert run(["quickstart", "--out", str(out), "--seeds", "1", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.usefixtures("tiny", "spark")
def test_whole_chain_ends_with_a_table_and_a_report_and_redoes_nothing(tmp_path, capsys):
    first = chain(tmp_path, capsys)
    rows = {row["controller"]: row for row in first["runs"]}
    assert list(rows) == ["(before)", "agent", "natural", "naive"]
    assert rows["naive"]["source tokens"] == 0
    assert rows["agent"]["source tokens"] + rows["agent"]["target tokens"] == 2 * 16 * quickstart.SEQ_LEN
    assert "not a claim" in first["note"]
    assert "<html" in (tmp_path / "report.html").read_text()
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "warehouse").rglob("*.jsonl")}
    kept |= {p: p.stat().st_mtime_ns for p in (tmp_path / "warehouse").rglob("*.parquet")}
    assert chain(tmp_path, capsys)["runs"] == first["runs"]
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_a_chain_of_one_thread_says_when_stopped_that_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    def stopped(*_):
        raise InterruptedRunError("run base-quickstart stopped; go on with something else")

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(quickstart, "_write_files", stopped)
    assert run(["quickstart", "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert said.endswith("stopped in stage 1 of 6; the same command goes on where it was\n")
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_own_text_needs_both_fields(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    assert run(["quickstart", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no sub-folder 'target'" in capsys.readouterr().err
