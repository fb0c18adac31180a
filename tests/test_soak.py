"""The soak keeps a row of every unit and does not repeat what passed."""

import json

import pytest
from tests import soak


def rows(folder):
    return [
        json.loads(line) for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines()
    ]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs `python -m tests.soak …` over units that are given, on a commit of that name."""

    def call(units, *arguments, commit="c1"):
        monkeypatch.setattr(soak, "all_units", lambda: units)
        monkeypatch.setattr(soak, "commit_of", lambda root: commit)
        monkeypatch.setattr("sys.argv", ["soak", "--results", str(tmp_path / "results"), *arguments])
        return soak.main(), rows(tmp_path / "results")

    return call


def test_a_unit_that_passed_is_not_repeated_on_its_commit(run):
    calls = []
    units = [soak.Unit("kills/a", lambda folder: {"calls": calls.append(folder.is_dir())})]
    code, found = run(units)
    assert code == 0 and [row["passed"] for row in found] == [True]
    assert {"unit", "commit", "machine", "started_at", "seconds", "details"} <= set(found[0])
    assert len(run(units)[1]) == 1 and len(run(units, "--only", "etl/*", "--again")[1]) == 1
    assert len(run(units, commit="c2")[1]) == 2
    assert len(run(units, "--again", commit="c2")[1]) == 3
    assert calls == [True, True, True]


def test_a_unit_that_fails_leaves_its_reason_and_is_tried_again(run):
    def fail(folder):
        raise soak.SoakError("the digest differs in step 3")

    code, found = run([soak.Unit("kills/a", fail), soak.Unit("kills/b", lambda folder: {})])
    assert code == 1
    assert [(row["unit"], row["passed"]) for row in found] == [("kills/a", False), ("kills/b", True)]
    assert found[0]["error"] == "the digest differs in step 3"
    assert [row["unit"] for row in run([soak.Unit("kills/a", fail)])[1]] == ["kills/a", "kills/b", "kills/a"]


def test_every_folder_can_add_units_and_properties_are_found():
    names = [unit.name for unit in soak.all_units()]
    assert "kills/agent-from-2-to-4-ranks" in names
    assert "properties/tests/mixing/test_guarantees.py" in names
