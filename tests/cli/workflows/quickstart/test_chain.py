import json
import os

import pytest

from dmix.cli.main import run
from dmix.cli.workflows.quickstart import chain as chain_module
from dmix.cli.workflows.quickstart import sizes
from dmix.training.evaluation.verdicts import ON_SEEN_ITEMS
from dmix.warehouse_schema.errors import InterruptedRunError

pytestmark = pytest.mark.long


@pytest.fixture
def tiny(monkeypatch):
    """The same chain with less of everything."""
    for name, value in {"BASE_TOKENS": 8_000, "STEPS": 2, "STEP_SAMPLES": 16, "DEMO_DOCUMENTS": 500}.items():
        monkeypatch.setattr(sizes, name, value)


def chain(out, capsys, *options):
    assert run(["quickstart", "--out", str(out), "--seeds", "1", "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def kept_files(out):
    found = [p for end in ("jsonl", "parquet") for p in (out / "warehouse").rglob(f"*.{end}")]
    return {p: p.stat().st_mtime_ns for p in found}


@pytest.mark.usefixtures("tiny")
def test_chain_ends_with_an_answer_and_a_report_and_redoes_nothing(tmp_path, capsys):
    first = chain(tmp_path, capsys)
    rows = {row["controller"]: row for row in first["runs"]}
    assert list(rows) == ["(before)", "plan", "natural", "source-share"]
    half = [rows["source-share"][f"{field} tokens"] for field in ("source", "target")]
    assert abs(half[0] - half[1]) <= 4 * sizes.SEQ_LEN  # whole samples of each domain
    judged, _, by_feedback = first["answer"].partition(
        "On the items that the controller read during the run: "
    )
    assert judged.startswith("On items that no controller saw: run plan-0: ")
    assert all(run in judged for run in ("natural-0", "source-share-0"))
    assert "Best: " in by_feedback and ON_SEEN_ITEMS not in first["answer"]
    assert "proves nothing" in first["note"] and "at least two seeds" in first["note"]
    assert "<html" in (tmp_path / "report.html").read_text()
    assert "objective" in first["plan"]
    kept = kept_files(tmp_path)
    assert chain(tmp_path, capsys)["runs"] == first["runs"]
    assert kept_files(tmp_path) == kept
    assert run(["quickstart", "--out", str(tmp_path), "--full"]) == 2
    assert "choose another --out for --full" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("tiny", "spark")
def test_full_chain_trains_an_agent_of_its_own(tmp_path, capsys):
    first = chain(tmp_path, capsys, "--full")
    rows = {row["controller"]: row for row in first["runs"]}
    assert list(rows) == ["(before)", "agent", "natural", "naive"]
    assert rows["naive"]["source tokens"] == 0
    assert rows["agent"]["source tokens"] + rows["agent"]["target tokens"] == 2 * 16 * sizes.SEQ_LEN
    kept = kept_files(tmp_path)
    assert chain(tmp_path, capsys, "--full")["runs"] == first["runs"]
    assert kept_files(tmp_path) == kept


def test_a_chain_of_one_thread_says_when_stopped_that_the_same_command_goes_on(tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise InterruptedRunError("run base-quickstart stopped; go on with something else")

    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(chain_module, "write_files", stopped)
    assert run(["quickstart", "--out", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert said.endswith("stopped in stage 1 of 5; run the same command to resume\n")
    assert os.environ["OMP_NUM_THREADS"] == "1"


def test_own_text_needs_both_fields(tmp_path, capsys):
    (tmp_path / "source").mkdir()
    assert run(["quickstart", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no sub-folder 'target'" in capsys.readouterr().err
