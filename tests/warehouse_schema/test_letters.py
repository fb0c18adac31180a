"""Words in every script."""

import time

import pytest

from dmix.warehouse_schema.letters import find_words

LETTERS, OTHERS = r"[^\W_]", r"[^\w\s]|_"


def words(text):
    return find_words(text, letters=LETTERS, others=OTHERS)


@pytest.mark.parametrize(
    "word",
    [
        "हिन्दी",  # Devanagari
        "বাংলা",  # Bengali
        "தமிழ்",  # Tamil
        "తెలుగు",  # Telugu
        "ภาษาไทยที่นี่",  # Thai
        "ພາສາລາວ",  # Lao
        "ភាសាខ្មែរ",  # Khmer
        "မြန်မာဘာသာ",  # Burmese
        "བོད",  # Tibetan
        "العَرَبِيَّة",  # Arabic with points
        "עִבְרִית",  # Hebrew with points
        "می\u200cخواهم",  # Persian with a non-joiner
        "ක්\u200dරි",  # Sinhala with a joiner
        "e\u0301te\u0301",
        "\u1112\u1161\u11ab",  # Hangul jamo
        "\U000114a2\U000114b0",  # Tirhuta, beyond 16 bits
    ],
)
def test_marks_and_joiners_belong_to_their_word(word):
    assert words(f"({word}) {word}") == ["(", word, ")", word]


def test_ascii_and_other_text_have_the_same_words():
    assert words("Don't_stop: 3!") == ["Don", "'", "t", "_", "stop", ":", "3", "!"]
    assert words("Don't_stop: 3! é")[:-1] == words("Don't_stop: 3!")


def test_a_mark_without_a_letter_is_no_word_and_a_long_word_costs_its_length():
    assert words("\u0301 a") == ["\u0301", "a"]
    start = time.perf_counter()
    assert len(words("a" + "\u0301" * 300_000)) == 1
    assert len(words("a\u0301" * 300_000)) == 1
    assert time.perf_counter() - start < 5
