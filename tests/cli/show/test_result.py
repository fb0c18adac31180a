"""A result is shown before the error that it holds is raised."""

import json

import pytest

from dmix.cli.show.result import Result, show_result
from dmix.warehouse_schema.errors import VerificationError


@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_with_an_error_is_shown_whole_first(capsys, as_json):
    result = Result({"files": 2}, error=VerificationError("1 problem"))
    result.table(["path"], [["x" * 100]], longest_cell=1000)
    with pytest.raises(VerificationError, match="1 problem"):
        show_result(result, as_json=as_json)
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"files": 2} if as_json else "x" * 100 in shown


def test_a_result_without_tables_shows_its_facts():
    assert repr(Result({"files": 2})) == "{'files': 2}"
