"""Measures of texts worked by hand, and what tables of neighbours know."""

import numpy as np
import pytest

from dmix.etl.quality.measures import (
    MAX_CHARACTERS,
    MEASURES,
    NeighbourTables,
    mixed_hashes,
    runs,
    text_measures,
    word_hashes,
    words_of,
)

GOOD = ["the cat sat on the mat and the dog sat on the rug"] * 3


@pytest.fixture(scope="module")
def tables():
    return NeighbourTables.of(GOOD)


def measured(text, tables):
    return dict(zip(MEASURES, text_measures(text, tables), strict=True))


def test_words_are_runs_of_letters_and_every_other_visible_character():
    assert words_of("Don't_stop: 3 cafés!") == ["don", "'", "t", "_", "stop", ":", "3", "cafés", "!"]
    assert words_of(" \n") == []
    assert len(words_of("a " * MAX_CHARACTERS)) == MAX_CHARACTERS // 2


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_text_without_words_measures_zero(tables, text):
    assert not text_measures(text, tables).any()


def test_shares_of_characters_by_hand(tables):
    found = measured("AB c1 !\ufffd", tables)  # 6 visible: 3 letters, 2 of them capital, 1 digit, 2 symbols
    assert found["letters"] == pytest.approx(3 / 6)
    assert found["digits"] == pytest.approx(1 / 6)
    assert found["symbols"] == pytest.approx(2 / 6)
    assert found["odd_characters"] == pytest.approx(1 / 6)
    assert found["capitals"] == pytest.approx(2 / 3)
    assert found["mean_word_length"] == 2 and found["long_words"] == 0


def test_marks_and_joiners_of_a_script_are_letters_of_their_words(tables):
    found = measured("हिन्दी می\u200cخواهم", tables)  # 3 letters and 3 marks; 7 letters and a joiner
    assert found["letters"] == 1
    assert found["symbols"] == found["odd_characters"] == 0
    assert found["mean_word_length"] == (6 + 8) / 2
    assert measured("\u0301 \u0301", tables)["symbols"] == 1  # on no letter


def test_a_loop_repeats_its_triples(tables):
    # 12 words have 10 triples, 3 of which are distinct
    assert measured("a b c " * 4, tables)["repeated_triples"] == pytest.approx(1 - 3 / 10)
    assert measured("the and of", tables)["function_words"] == 1


def test_good_text_has_known_neighbours_and_shuffled_words_have_not(tables):
    good = measured(GOOD[0], tables)
    salad = measured("mat rug dog cat and on the sat the the on the sat", tables)
    assert good["known_triples"] == 1 and salad["known_triples"] < 0.3
    assert good["known_pairs"] > 2 * salad["known_pairs"]
    assert good["unknown_words"] == salad["unknown_words"] == 0
    assert good["word_frequency"] == pytest.approx(salad["word_frequency"])
    assert measured("zebra quark", tables)["unknown_words"] == 1


def test_runs_depend_on_order_and_are_none_in_a_short_text():
    one, other = (word_hashes(words) for words in (["a", "b", "c"], ["b", "a", "c"]))
    assert len(runs(one, 2)) == 2 and len(runs(one[:1], 2)) == 0
    assert runs(one, 3)[0] != runs(other, 3)[0]
    np.testing.assert_array_equal(mixed_hashes([one[:2], one[1:]]), runs(one, 2))
