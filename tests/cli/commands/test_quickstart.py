"""`dmix quickstart` passes its flags on and prints the report on stdout."""

import json

import pytest

from dmix.cli.main import run
from dmix.cli.show.result import Result


@pytest.fixture
def chain(monkeypatch):
    calls = []

    def quickstart(*, progress, **given):
        calls.append(given)
        return Result({"report": "demo/report.html"})

    monkeypatch.setattr("dmix.cli.workflows.quickstart.chain.quickstart", quickstart)
    return calls


def test_the_path_of_the_report_is_all_of_stdout(chain, capsys):
    assert run(["quickstart", "--seeds", "3", "--full"]) == 0
    assert capsys.readouterr().out == "demo/report.html\n"
    assert (chain[0]["seeds"], chain[0]["full"], chain[0]["data"]) == (3, True, None)


def test_json_is_all_of_stdout_where_it_is_asked_for(chain, capsys):
    assert run(["quickstart", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": "demo/report.html"}
