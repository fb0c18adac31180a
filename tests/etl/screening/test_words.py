import time
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
    "ภาษาไทยที่ดี — ดีมาก",
    "தமிழ் மொழி; e\u0316\u0301x",
    "\u0301lone \u0301 marks-\u0301 ☺\ufe0f 1\ufe0f\u20e3",
    "soft\u00adhyphen zero\u200bwidth क\u094d\u200dष \ufeff",
    "x" + "\u0301\u0323" * 14,
    "internationalisation " * 3,
]


def plainly(text):
    """The normal form by its definition, character by character; of at most 30 marks in a row."""
    seen = "".join(char for char in text if not unseen(char))
    plain = unicodedata.normalize("NFKC", seen).lower()
    words = [""]
    for char in plain:
        is_mark = unicodedata.category(char).startswith("M")
        if char.isalnum() or (is_mark and words[-1]):
            words[-1] += char
        elif words[-1]:
            words.append("")
    return b"".join(word.encode() + b" " for word in words if word)


def unseen(char):
    selectors = [*range(0x180B, 0x180E), 0x180F, *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), 0x34F]
    return char != "\u200b" and (unicodedata.category(char) in ("Cf", "Me") or ord(char) in selectors)


def test_normal_form_is_the_words_in_lower_case_one_space_after_each():
    assert normal_texts(["Hello,  World-2!"]).text(0) == b"hello world 2 "


@pytest.mark.parametrize("batch", [TEXTS, TEXTS[::-1], TEXTS[2:4], [TEXTS[4]]], ids=len)
def test_normal_forms_of_a_batch_are_those_of_the_definition(batch):
    found = normal_texts(batch)
    assert [found.text(index) for index in range(len(batch))] == [plainly(text) for text in batch]


def test_random_characters_of_all_planes_have_the_form_of_the_definition():
    rng = np.random.default_rng(0)
    pool = [
        *range(0x20, 0x250),
        *range(0x300, 0x370),
        *range(0x900, 0xA00),
        *range(0xE00, 0xE60),
        *range(0x370, 0x400),
        *range(0x1100, 0x1200),
    ]
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


def test_vowel_signs_are_letters_of_their_words():
    found, dirty = "मिला था", "मैला था"  # "was found", "was dirty"
    forms = normal_texts([found, dirty, "हिन्दी की किताब"])
    assert forms.text(0) != forms.text(1)
    assert forms.last_words_D.tolist() == [2, 4, 7]


def test_long_words_have_hashes_of_their_own():
    words = ["a" * 255, "a" * 256, "a" * 257, "a" * 256 + "b", "b" + "a" * 256]
    hashes = normal_texts([" ".join(words)]).word_hashes()
    assert len(set(hashes.tolist())) == len(words)
    assert normal_texts(["x " + "A" * 257]).word_hashes()[1] == hashes[2]


@pytest.mark.parametrize("text", ["A" * 400_000, "x" + "\u0301\u0323" * 100_000, "Σ" + "'" * 400_000 + "Σ"])
def test_a_long_word_costs_what_its_length_says(text):
    started = time.process_time()
    normal_texts([text]).word_hashes()
    assert time.process_time() - started < 2  # the square of the length took minutes


def test_marks_beyond_thirty_in_a_row_are_kept():
    marks = "\u0323\u0301" * 200
    form = normal_texts(["q" + marks]).text(0).decode()
    assert sorted(form) == sorted(f"q{marks} ")
