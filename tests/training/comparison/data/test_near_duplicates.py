"""Number-masked 8-grams."""

import pytest

from dmix.training.comparison.data.near_duplicates import masked_grams, similarities

PROBLEM = "Tom has 12 red apples and buys 30 more so he has 42 in all"  # 15 words: 8 grams


def test_texts_that_differ_in_numbers_alone_have_the_same_grams():
    assert masked_grams(PROBLEM) == masked_grams(PROBLEM.replace("12", "7").replace("42", "37").upper())


def test_a_short_text_is_one_gram_and_an_empty_one_none():
    assert masked_grams("two words") == {("two", "words")}
    assert masked_grams("…") == frozenset()


def test_a_passage_of_a_long_document_counts_like_a_document_of_its_own():
    long = " ".join(f"word{'abcdefghij'[i % 10]}x{'abcdefghij'[i // 10]}" for i in range(60))
    found = similarities({"item": PROBLEM}, [long, f"{long} {PROBLEM} {long}"])
    assert found == {"item": 1.0}


def test_similarity_is_shared_grams_over_all_of_both():
    # the last word differs: 7 of 8 grams are shared, 9 in all
    found = similarities({"item": PROBLEM, "other": "nothing alike"}, [PROBLEM.replace("all", "sum")])
    assert found["item"] == pytest.approx(7 / 9)
    assert found["other"] == 0


def test_words_keep_their_marks():
    assert masked_grams("हिन्दी 12 ไทยที่") == {("हिन्दी", "#", "ไทยที่")}
