"""Questions in SQL, answered as rows and as an Arrow table."""

import pytest

from dmix.cli.workflows.runs.ask import ask, ask_for_arrow
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    warehouse = Warehouse.at(tmp_path_factory.mktemp("ask"))
    publish_json(warehouse.agent("a1") / "config.json", {"preset": "paper"})
    return warehouse


def test_rows_and_arrow_say_the_same(warehouse):
    query = "select agent, preset from agents"
    assert ask(warehouse, query) == (["agent", "preset"], [("a1", "paper")])
    result = ask_for_arrow(warehouse, query)
    assert result.facts == [{"agent": "a1", "preset": "paper"}]
    assert result.value.column_names == ["agent", "preset"]


@pytest.mark.parametrize("query", ["", "  \n "])
def test_an_empty_question_is_refused_with_an_example(warehouse, query):
    with pytest.raises(InputError, match="SHOW TABLES"):
        ask(warehouse, query)


def test_a_warehouse_that_is_not_there_is_named(tmp_path):
    with pytest.raises(NotFoundError):
        ask(Warehouse.at(tmp_path / "none"), "select 1")
