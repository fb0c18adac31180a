"""What version 0.1 wrote: this version opens, shows, reports, verifies, resumes and steers from it.

`fixtures/make_warehouse_0_1.py` says how the archive was made, and of what.
"""

import json
import tarfile
from pathlib import Path

import pytest

from dmix.cli.main import run
from dmix.training.run.summary import summarise
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.files.layout import Warehouse

ARCHIVE = Path(__file__).parent / "fixtures" / "warehouse-0.1.tar.gz"
FOLDER = "/tmp/dmix-0.1"  # where it was made, as its files say
ROWS = {
    "agents": 4,
    "contamination": 1,
    "corpora": 3,
    "datasets": 1,
    "domain_loss": 214,
    "domain_tokens": 8,
    "domains": 30,
    "duplicates": 1,
    "evaluations": 2,
    "feedback": 90,
    "mixture": 376,
    "rejects": 4,
    "run_events": 13,
    "run_feedback": 26,
    "run_steps": 46,
    "runs": 5,
    "screenings": 2,
    "start_state": 34,
    "start_state_convergence": 2,
    "start_state_estimates": 1,
    "synthetic": 1,
    "trajectories": 360,
}


@pytest.fixture(scope="module")
def old(tmp_path_factory):
    """The unpacked warehouse, whose files name their folder of today; tests add runs of their own."""
    work = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(work, filter="data")
    here = work / "dmix-0.1"
    for path in [*here.rglob("*.yaml"), *here.rglob("*.json"), *here.rglob("*.jsonl")]:
        text = path.read_text()
        if FOLDER in text:
            path.write_text(text.replace(FOLDER, str(here)))
    return Warehouse.at(here / "warehouse")


def call(old, *words):
    return run([*words, "--warehouse", str(old.root)])


def test_every_view_shows_what_was_stored(old):
    sync(old)
    with Catalog.open_reader(old) as catalog:
        rows = {view: catalog.query(f"select count(*) from {view}")[1][0][0] for view in catalog.views()}
    # the damaged run has no row; those of the others are the steps that they did
    assert {view: rows[view] for view in ROWS} == ROWS


def test_a_report_shows_its_runs(old, tmp_path):
    assert call(old, "report", "--out", str(tmp_path / "report.html")) == 0
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in ("finished", "natural", "unfinished", "Games"))


def test_verify_names_the_damaged_run_and_nothing_else(old, capsys):
    assert call(old, "etl", "verify") == 4
    shown = capsys.readouterr()
    assert "1 problem" in shown.err
    assert "runs/damaged/events.jsonl" in shown.out and "line 4" in shown.out


def test_the_unfinished_run_resumes_to_its_end(old):
    assert call(old, "train", "--run", "unfinished", "--resume") == 0
    summary = summarise(old.run("unfinished") / "events.jsonl")
    assert (summary.steps, summary.finished) == (4, True)


@pytest.mark.parametrize("agent", ["sft", "rl", "set", "clone"])
def test_its_agents_steer_new_runs(old, agent):
    words = ["--model", "base", "--agent", agent, "--run", f"new-{agent}", "--steps", "2"]
    words += ["--environment", str(old.feedback("farm") / "environment.yaml"), "--samples-per-step", "16"]
    assert call(old, "train", *words, "--training", str(old.root.parent / "training.yaml")) == 0
    first, second = [
        event
        for event in map(json.loads, (old.run(f"new-{agent}") / "events.jsonl").read_text().splitlines())
        if event["event"] == "decision"
    ]
    assert [sum(first["asked_N"]), sum(second["asked_N"])] == pytest.approx([1, 1])
    assert "fallback" not in [remark["kind"] for event in (first, second) for remark in event["remarks"]]
