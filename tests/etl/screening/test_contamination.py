"""Evaluation items in the text of corpora, looked for in this process."""

import pyarrow.parquet as pq
import pytest

from dmix.etl.screening.contamination import KIND, contamination_id, files_to_search, find_contamination
from dmix.etl.screening.ngrams import EvaluationItem
from dmix.etl.screening.screening import screened_files
from dmix.warehouse_schema.errors import InputError, NotFoundError

LONG = " ".join(f"word{number}" for number in range(20))
ITEMS = (
    EvaluationItem(objective="maths", item_id="q1", question=LONG, answer="yes"),
    EvaluationItem(objective="maths", item_id="q2", question="too", answer="short"),
)


@pytest.fixture
def corpus(make_corpus):
    return make_corpus(
        "main-source",
        "source",
        [[("News", "nothing of it"), ("Games", f"before {LONG} yes after")], [("News", "neither here")]],
    )


def find(warehouse, corpora, items=ITEMS):
    lines = []
    return find_contamination(None, warehouse, corpora=corpora, items=items, progress=lines.append), lines


def test_a_document_with_an_item_is_found_with_its_place(warehouse, corpus):
    screening, lines = find(warehouse, [corpus])
    assert (screening.documents, screening.found, screening.items, screening.items_too_short) == (3, 1, 2, 1)
    (name,) = screening.files
    (row,) = pq.read_table(warehouse.screening(KIND, screening.screening) / f"{name}.parquet").to_pylist()
    assert (row["objective"], row["item_id"], row["domain"]) == ("maths", "q1", "Games")
    assert row["overlap"] == 1.0 and row["corpus"] == "main-source"
    line = lines[-1]
    assert (
        "1 of 3 documents contain an item" in line
        and "(2 items searched; too short for the search: 1)" in line
    )
    assert "view 'contamination'" in line and "'overlap'" in line


def test_what_is_known_is_not_looked_for_again(warehouse, corpus):
    first, _ = find(warehouse, [corpus])
    again, lines = find(warehouse, [corpus])
    assert again == first and len(lines) == 1 and "(from an earlier search)" in lines[0]


def test_files_that_were_looked_through_are_left_alone(warehouse, corpus):
    files, folder = screened_files(warehouse, [corpus]), warehouse.root / "under way"
    folder.mkdir(parents=True)
    assert files_to_search(folder, files) == files
    (folder / f"{files[0].name}.parquet").touch()
    assert files_to_search(folder, files) == files[1:]


def test_other_items_are_another_search(corpus):
    assert contamination_id([corpus], ITEMS) == contamination_id([corpus], ITEMS)
    assert contamination_id([corpus], ITEMS) != contamination_id([corpus], ITEMS[:1])


def test_nothing_to_look_for_and_nothing_to_look_in_are_named(warehouse, corpus):
    with pytest.raises(InputError, match="no evaluation items"):
        find(warehouse, [corpus], items=())
    next(warehouse.labels("main-source").glob("parts/*/*.parquet")).unlink()
    with pytest.raises(NotFoundError, match="is missing"):
        find(warehouse, [corpus])
