"""A sample of labelled documents: so many of each label, blocks of neighbours together."""

import numpy as np
import pytest
from tests.etl.conftest import TAXONOMY

from dmix.etl.distilling.labelled_sample import BLOCK, PARTS, _part, draw_sample, label_counts
from dmix.etl.text.tokens import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


@pytest.fixture
def corpora(make_corpus):
    def documents(label, count):
        return [(label, f"{label} word{number} text") for number in range(count)]

    first = make_corpus("a", "source", [documents("News", 30) + documents("Games", 4), documents("News", 20)])
    return [first, make_corpus("b", "source", [documents("Games", 3)])]


def draw(warehouse, corpora, tokenizer, *, most=10, seed=0):
    return draw_sample(
        warehouse, corpora, taxonomy=TAXONOMY, documents_per_label=most, seed=seed, tokenizer=tokenizer
    )


def test_labels_are_counted_over_all_corpora(corpora):
    assert label_counts(corpora, TAXONOMY).tolist() == [7, 50, 0]
    assert label_counts([], TAXONOMY).tolist() == [0, 0, 0]


def test_each_label_has_at_most_so_many_documents(warehouse, corpora, tokenizer):
    found = draw(warehouse, corpora, tokenizer)
    assert np.bincount(found.labels_N, minlength=3).tolist() == [7, 10, 0]
    everything = draw(warehouse, corpora, tokenizer, most=100)
    assert np.bincount(everything.labels_N, minlength=3).tolist() == [7, 50, 0]


def test_the_draw_follows_its_seed(warehouse, corpora, tokenizer):
    first, again, other = (draw(warehouse, corpora, tokenizer, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.features.features, again.features.features)
    assert not np.array_equal(first.features.features, other.features.features)


def test_parts_hold_every_document_once(warehouse, corpora, tokenizer):
    found = draw(warehouse, corpora, tokenizer, most=100)
    halves = found.of_parts(range(5)), found.of_parts(range(5, PARTS))
    assert sorted(np.concatenate(halves).tolist()) == list(range(57))
    assert len(found.of_parts([])) == 0


def test_neighbours_in_a_file_fall_into_one_part():
    parts = [_part("a.jsonl", position) for position in range(BLOCK * 200)]
    assert all(len(set(parts[start : start + BLOCK])) == 1 for start in range(0, len(parts), BLOCK))
    assert set(parts) == set(range(PARTS))
    assert parts != [_part("b.jsonl", position) for position in range(BLOCK * 200)]
