import re
import unicodedata

import numpy as np
import pytest

from dmix.etl.screening.words import normal_texts, window_hashes

TEXTS = [
    "",
    "  \n",
    "One two,THREE!",
    "snake_case and  x2 + 3 = y",
    "“Don’t”\u00a0— stop…",
    "ﬁne Ａ１ ß",
    "ΟΔΥΣΣΕΥΣ Σ",
    "e\u0301 é",
    "日本語 テスト",
    "İstanbul",
    "\ud800 lone",
    "हिन्दी भाषा",
    "internationalisation " * 3,
]


def plainly(text):
    """The normal form by its definition: one regular expression over NFKC, lower-cased."""
    plain = unicodedata.normalize("NFKC", text).lower()
    return b"".join(word.encode("utf-8", "replace") + b" " for word in re.findall(r"[^\W_]+", plain))


def test_normal_form_is_the_words_in_lower_case_one_space_after_each():
    assert normal_texts(["Hello,  World-2!"]).text(0) == b"hello world 2 "


@pytest.mark.parametrize("batch", [TEXTS, TEXTS[::-1], TEXTS[2:4], [TEXTS[4]]], ids=len)
def test_normal_forms_of_a_batch_are_those_of_the_definition(batch):
    found = normal_texts(batch)
    assert [found.text(index) for index in range(len(batch))] == [plainly(text) for text in batch]


def test_random_characters_of_all_planes_have_the_form_of_the_definition():
    rng = np.random.default_rng(0)
    pool = [*range(0x20, 0x250), *range(0x300, 0x320), *range(0x370, 0x400), *range(0x1100, 0x1200)]
    pool += [*range(0x2000, 0x2100), *range(0xFB00, 0xFB10), *range(0xFF00, 0xFF60), *range(0x1D400, 0x1D420)]
    texts = ["".join(map(chr, rng.choice(pool, rng.integers(0, 25)))) for _ in range(500)]
    found = normal_texts(texts)
    assert [found.text(index) for index in range(500)] == [plainly(text) for text in texts]


def test_no_text_has_no_word():
    assert len(normal_texts([]).ends_D) == 0
    assert len(normal_texts([]).word_hashes()) == 0


def test_words_are_counted_up_to_the_end_of_each_text():
    assert normal_texts(["a b", "", "c", "!"]).last_words_D.tolist() == [2, 2, 3, 3]


def test_equal_words_have_equal_hashes_and_others_do_not():
    words = ["a", "b", "abcdefgh", "abcdefghi", "abcdefghj", "abcdefghabcdefgh", "abcdefghabcdefghi", "é"]
    hashes = normal_texts([" ".join(words)]).word_hashes()
    assert len(set(hashes.tolist())) == len(words)
    assert [int(normal_texts(["x", word.upper()]).word_hashes()[1]) for word in words] == hashes.tolist()


@pytest.mark.parametrize("size", [1, 7, 13])
def test_windows_have_the_same_hash_wherever_they_stand(size):
    words = [f"w{i}" for i in range(size)]
    alone = window_hashes(normal_texts([" ".join(words)]).word_hashes(), size)
    filler = [f"f{i}" for i in range(16_390)]  # over the border of a block
    inside = window_hashes(normal_texts([" ".join([*filler, *words, *filler])]).word_hashes(), size)
    assert len(alone) == 1
    assert len(inside) == 2 * len(filler) + 1
    assert np.flatnonzero(inside == alone[0]).tolist() == [len(filler)]


def test_order_of_words_changes_the_hash_of_a_window():
    first, second = (window_hashes(normal_texts([text]).word_hashes(), 2) for text in ("a b", "b a"))
    assert first[0] != second[0]


def test_fewer_words_than_a_window_give_none():
    assert len(window_hashes(normal_texts(["a b"]).word_hashes(), 3)) == 0
