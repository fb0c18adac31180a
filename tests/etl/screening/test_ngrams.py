import pytest

from dmix.etl.screening.ngrams import EvaluationItem, Match, NgramIndex, items_digest
from dmix.etl.screening.words import normal_texts


def item(question, answer="", item_id="q", objective="math"):
    return EvaluationItem(objective=objective, item_id=item_id, question=question, answer=answer)


def words(start, count):
    return " ".join(f"word{start + i}" for i in range(count))


def found(items, *texts):
    return NgramIndex(items).matches(normal_texts(texts))


LONG = item(words(0, 20), words(100, 5))


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not():
    [match] = found([LONG], f"before, {words(3, 13)}; after")
    assert (match.text, match.item) == (0, 0)
    assert match.overlap == pytest.approx(1 / 13, abs=1e-4)  # 25 words have 13 runs of 13
    assert found([LONG], f"before {words(3, 12)} after") == []


def test_the_whole_item_has_overlap_1_whatever_its_punctuation():
    text = LONG.question.upper().replace(" ", " - ") + "?\n" + LONG.answer
    assert found([LONG], text) == [Match(text=0, item=0, overlap=1.0)]


def test_a_run_over_the_border_of_question_and_answer_counts():
    assert len(found([LONG], f"{words(12, 8)} {words(100, 5)}")) == 1


def test_a_run_over_the_border_of_two_texts_does_not_count():
    assert found([LONG], words(0, 7), words(7, 7)) == []


def test_whole_questions_of_seven_to_twelve_words_are_found():
    short = [item(words(0, 7), "7"), item(words(50, 12), words(90, 9)), item(words(200, 6), "x y")]
    text = f"see {words(0, 7)} and {words(50, 12)} and {words(200, 6)} x y"
    assert found(short, text) == [Match(text=0, item=i, overlap=1.0) for i in range(3)]
    assert found(short, f"{words(0, 6)} {words(50, 11)} {words(200, 6)} x") == []


def test_items_of_fewer_words_are_counted_and_not_looked_for():
    index = NgramIndex([item("what is this", "a cat"), LONG])
    assert index.too_short == (0,)
    assert index.matches(normal_texts(["what is this a cat"])) == []


def test_several_items_with_the_same_run_are_all_found():
    twins = [item(words(0, 15), "a"), item(words(0, 15), "b")]
    assert [match.item for match in found(twins, words(0, 15))] == [0, 1]


def test_equal_hashes_of_other_words_are_no_match(monkeypatch):
    index = NgramIndex([LONG])
    monkeypatch.setattr(
        type(index._grams), "candidates", lambda self, *hashes: [(0, 0, 0)] if len(self.item_K) else []
    )
    assert index.matches(normal_texts([words(500, 20)])) == []


def test_an_item_and_a_text_of_one_word_over_and_over_are_compared_once(monkeypatch):
    index = NgramIndex([item("la " * 2_000)])
    candidates = type(index._grams).candidates
    tried = []

    def counted(self, *hashes):
        found = list(candidates(self, *hashes))
        tried.extend(found)
        return found

    monkeypatch.setattr(type(index._grams), "candidates", counted)
    [match] = index.matches(normal_texts(["la " * 20_000]))
    assert (match.item, len(tried)) == (0, 1)


def test_no_items_and_no_texts_give_no_match():
    assert found([], words(0, 30)) == []
    assert found([LONG]) == []
    assert found([LONG], "") == []


def test_digest_follows_the_items_and_not_their_order():
    other = item("another question", "b")
    assert items_digest([LONG, other]) == items_digest([other, LONG])
    assert items_digest([LONG]) != items_digest([LONG, other])
    assert items_digest([LONG]) != items_digest([item(LONG.question, LONG.answer, objective="code")])
