"""Corpora and datasets as the catalog has them."""

import pytest
from tests.training.report.fixtures import add_corpus, add_screening

from dmix.training.report.queries.data_facts import read_corpora, read_datasets, read_lone_start
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync


@pytest.fixture
def read(warehouse):
    def of(query):
        sync(warehouse)
        with Catalog.open_reader(warehouse) as catalog:
            return query(catalog)

    return of


def test_a_corpus_is_its_newest_version(read):
    found = read(read_corpora)
    assert [(c.corpus, c.field, c.documents, c.rejected) for c in found] == [
        ("main-source", "source", 30, 2),
        ("main-target", "target", 30, 2),
    ]
    assert found[0].found == {}, "a kind that nobody looked for is missing"


def test_searches_count_documents_of_each_corpus_and_domain(warehouse, read):
    add_screening(warehouse, "duplicates", [("source", "News"), ("source", "News"), ("target", "Games")])
    assert [c.found for c in read(read_corpora)] == [{"duplicates": 2}, {"duplicates": 1}]
    (dataset,) = read(read_datasets)
    assert dataset.found == {"duplicates": {("source", "News"): 2, ("target", "Games"): 1}}
    assert dataset.drops == frozenset()


def test_domains_of_a_dataset_follow_the_taxonomy_with_the_source_first(read):
    (dataset,) = read(read_datasets)
    assert dataset.corpora == ("main-source@v1", "main-target@v1")
    assert [(s.field, s.domain, s.samples) for s in dataset.streams][:3] == [
        ("source", "News", 200),
        ("source", "Science & <b>Maths</b>", 80),
        ("source", "Games", 0),
    ]
    assert {row.estimator for row in dataset.start.weights} == {"corpus"}


def test_nothing_is_known_of_an_empty_warehouse(bare_warehouse):
    sync(bare_warehouse)
    with Catalog.open_reader(bare_warehouse) as catalog:
        assert read_corpora(catalog) == read_datasets(catalog) == []
        assert read_lone_start(catalog).weights == ()


def test_a_second_corpus_stands_beside_the_first(warehouse, read):
    add_corpus(warehouse, "source", documents=1, rejected=0)
    assert [c.corpus for c in read(read_corpora)] == ["main-source", "main-target"]
