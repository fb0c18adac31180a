"""What the workflow of a report passes on and tells."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from dmix.cli.workflows.runs import report as module
from dmix.cli.workflows.runs.report import report_runs
from dmix.training import report as pages


@pytest.fixture
def written(monkeypatch):
    """Pages that are written in name only: which function was called, and with what."""
    calls = []

    def write(kind):
        def called(warehouse, **given):
            calls.append((kind, given))
            return SimpleNamespace(path=Path("r.html"), runs=given["runs"], running=("b",), size_bytes=2000)

        return called

    monkeypatch.setattr(pages, "write_report", write("once"))
    monkeypatch.setattr(pages, "watch_report", write("again"))
    return calls


@pytest.mark.parametrize(("runs", "said"), [(("a",), "report on 1 run,"), (("a", "b"), "report on 2 runs,")])
def test_facts_name_file_runs_and_size(written, runs, said):
    result = report_runs(None, runs=runs, progress=str)
    assert result.facts == {"path": "r.html", "runs": list(runs), "running": ["b"], "bytes": 2000}
    assert said in repr(result) and [kind for kind, _ in written] == ["once"]


def test_watching_passes_its_seconds_on(written):
    report_runs(None, runs=("a",), watch=True, every=3.0, out=Path("x.html"), progress=str)
    ((kind, given),) = written
    assert kind == "again" and given["seconds"] == 3.0 and given["out"] == Path("x.html")


def test_a_notebook_gets_the_path_as_a_line(written, monkeypatch):
    assert "r.html" not in repr(report_runs(None, runs=("a",), progress=str))
    monkeypatch.setattr(module, "in_notebook", lambda: True)
    assert "r.html" in repr(report_runs(None, runs=("a",), progress=str))
