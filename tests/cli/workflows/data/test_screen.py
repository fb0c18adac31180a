"""Searches of the text as workflows: what a dry run would read, and the counts of what was found."""

import json

import pytest
from tests.etl import conftest as _etl

from dmix.cli.workflows.data.screen import screen_contamination, screen_duplicates
from dmix.warehouse_schema.files.layout import Warehouse

LONG = " ".join(f"word{number}" for number in range(20))


@pytest.fixture
def warehouse(tmp_path):
    warehouse = Warehouse.at(tmp_path / "w")
    _etl.write_corpus(
        warehouse, "main-source", "source", [[("News", "one text"), ("Games", f"so {LONG} yes")]]
    )
    _etl.write_corpus(warehouse, "main-target", "target", [[("News", "One text!")]])
    return warehouse


@pytest.fixture
def environment(tmp_path):
    (tmp_path / "items.jsonl").write_text(json.dumps({"id": "q", "question": LONG, "answer": "yes"}) + "\n")
    path = tmp_path / "environment.yaml"
    path.write_text("objectives:\n- {name: m, role: target, kind: qa, path: items.jsonl}\n")
    return path


def test_a_dry_run_counts_what_is_to_be_read_and_reads_nothing(warehouse, environment):
    for result in (
        screen_duplicates(warehouse, executor=None, dry_run=True, progress=str),
        screen_contamination(warehouse, environment=environment, executor=None, dry_run=True, progress=str),
    ):
        assert result.facts["corpora"] == ["main-source@v1", "main-target@v1"]
        assert (result.facts["documents"], result.facts["label_files_to_read"]) == (3, 2)
    assert not (warehouse.root / "duplicates").exists() and not (warehouse.root / "contamination").exists()


def test_what_was_found_is_counted_by_corpus(warehouse, environment):
    copies = screen_duplicates(warehouse, executor=None, progress=str)
    assert (copies.facts["documents"], copies.facts["found"]) == (3, 1)
    assert copies.facts["counts"] == [
        {"corpus": "main-target", "first_corpus": "main-source", "documents": 1}
    ]
    items = screen_contamination(warehouse, environment=environment, executor=None, progress=str)
    (row,) = items.facts["counts"]
    assert (row["objective"], row["documents"], row["highest_overlap"]) == ("m", 1, 1.0)
    assert "dmix sql" in repr(items)
    again = screen_duplicates(warehouse, executor=None, dry_run=True, progress=str)
    assert again.facts["label_files_to_read"] == 0
