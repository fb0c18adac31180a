"""Word hashes and features of documents."""

import numpy as np
import pytest

from dmix.etl.classifiers.features import NUM_FEATURES, WordTable, document_features, word_hashes
from dmix.etl.text.tokens import load_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


@pytest.fixture(scope="module")
def table(tokenizer):
    return WordTable.of(tokenizer.json_bytes)


@pytest.fixture(scope="module")
def hashes(tokenizer, table):
    """The word hashes of one text."""

    def of(text):
        return word_hashes(*tokenizer.encode([text]), table=table)[0].tolist()

    return of


def test_word_hash_ignores_case_plural_and_the_cut_of_the_tokenizer(hashes):
    assert hashes("Leukemia")[0] == hashes("the leukemias")[1] == hashes("(LEUKEMIA)")[1]
    assert hashes("film") == hashes("Films")
    assert hashes("film") != hashes("filmed")
    assert hashes("gas") != hashes("ga")  # too short to lose its s


def test_word_hash_of_a_very_long_word_is_that_of_the_same_word(hashes):
    assert hashes("a" * 500) == hashes("a" * 500)
    assert len(hashes("a" * 500)) == 1


def test_words_end_with_their_document(tokenizer, table):
    batch = ["sea", "horse", "", "sea horse"]
    hashes, counts = word_hashes(*tokenizer.encode(batch), table=table)
    assert counts.tolist() == [1, 1, 0, 2]
    assert hashes[:2].tolist() == hashes[2:].tolist()


def test_features_are_distinct_in_each_document(tokenizer, table):
    ids, lengths = tokenizer.encode(["cat cat cat cat dog", "", "cat"])
    features, offsets = document_features(ids, lengths, table=table)
    first = features[: offsets[1]]
    assert len(first) == len(set(first.tolist())) == 4  # cat, dog, "cat cat", "cat dog"
    assert offsets.tolist() == [0, 4, 4]
    assert features.max() < NUM_FEATURES


def test_no_document_has_no_features(table):
    features, offsets = document_features(np.empty(0, np.uint32), np.empty(0, np.int64), table=table)
    assert len(features) == len(offsets) == 0
