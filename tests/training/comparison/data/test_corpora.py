"""Which text base models and runs get, and what is done to it."""

import dataclasses

import numpy as np
import pytest

from dmix.training.comparison.data.corpora import (
    base_text,
    choose_text,
    items_and_text,
    near_items,
    shuffle_words,
    shuffled_text,
    split_by_label,
)
from dmix.training.comparison.data.settings import ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.text import CorpusText
from dmix.warehouse_schema.errors import InputError

# 100 samples of 10 tokens a run: 1000 tokens of source and 500 of target
SETTINGS = ComparisonSettings(
    name="s",
    source=("s*",),
    target=("t*",),
    seq_len=10,
    steps=10,
    samples_per_step=10,
    source_supply=1.0,
    target_supply=0.5,
    base_tokens=2000,
    objectives=(ComparisonObjective(name="o", role="general", corpora=("s",)),),
)


def corpus(name, field, count, tokens=10.0):
    records = [{"id": f"{name}-{i}", "text": f"text {i} of {name}"} for i in range(count)]
    return CorpusText(name, field, records, np.full(count, tokens))


CORPORA = (corpus("s", "source", 300), corpus("t", "target", 100), corpus("u", "target", 100))


def test_each_field_gets_its_supply():
    chosen = choose_text(CORPORA, SETTINGS)
    sizes = {key: {name: len(found) for name, found in of.items()} for key, of in chosen.items()}
    assert sizes == {
        ("run", "source"): {"s": 100},
        ("base", "source"): {"s": 200},
        ("run", "target"): {"t": 25, "u": 25},
    }


def test_a_world_takes_what_its_items_leave():
    large = dataclasses.replace(SETTINGS, target_supply=100.0)
    with pytest.raises(InputError, match="lower its supply"):
        choose_text(CORPORA, large)
    chosen = choose_text(CORPORA, dataclasses.replace(large, world="held-out"))
    own = {corpus.name: len(corpus.records) for corpus in CORPORA if corpus.field == "target"}
    assert {name: len(found) for name, found in chosen["run", "target"].items()} == own


def test_a_synthetic_source_leaves_runs_no_source_text():
    written = dataclasses.replace(SETTINGS, synthetic_source=True)
    assert ("run", "source") not in choose_text(CORPORA, written)
    pools = dataclasses.replace(written, small_pools={"s": 0.1})
    with pytest.raises(
        InputError, match=r"small pool 's' is a source corpus.* a model writes .*only target corpora"
    ):
        choose_text(CORPORA, pools)


def test_bases_of_the_third_protocol_read_disjoint_documents():
    third = dataclasses.replace(SETTINGS, protocol=3, bases=2, base_tokens=1000)
    chosen = choose_text(CORPORA, third)
    read = [{r["id"] for r in chosen[base_text(third, base), "source"]["s"]} for base in (0, 1)]
    assert len(read[0] | read[1]) == 200 and not read[0] & read[1]
    assert min(map(len, read)) > 50
    assert base_text(SETTINGS, 1) == "base" and ("base", "source") not in chosen


def test_records_go_by_label_and_those_without_one_together():
    records = [{"label": "Real Estate!"}, {"label": None}, {"label": "..."}, {}, {"label": "real estate"}]
    found = split_by_label("web", records)
    assert {name: len(of) for name, of in found.items()} == {"web-none": 3, "web-real_estate": 2}
    assert found["web-none"][0]["origin"] == "web-none" and "origin" not in records[0]


def test_shuffled_words_are_the_same_words_in_an_order_of_the_key():
    text = " ".join(map(str, range(50)))
    first = shuffled_text(text, key="a")
    assert first == shuffled_text(text, key="a") != shuffled_text(text, key="b")
    assert sorted(first.split()) == sorted(text.split()) and first != text
    assert shuffled_text("", key="a") == ""


@pytest.mark.parametrize(("share", "changed"), [(0.0, 0), (0.5, 1), (1.0, 2)])
def test_a_share_of_the_corpora_of_each_field_is_shuffled(share, changed):
    text = "one two three four five six seven eight"
    chosen = {("run", "target"): {name: [{"id": "1", "text": text}] for name in ("t", "u")}}
    shuffle_words(chosen, dataclasses.replace(SETTINGS, shuffled=share))
    assert sum(of[0]["text"] != text for of in chosen["run", "target"].values()) == changed


def test_items_that_stand_in_the_training_text_are_near():
    sentence = "the quick brown fox jumps over the lazy dog near the old river bank at dawn today"
    items = {"o": [{"id": 1, "question": sentence, "answer": "yes indeed it does so every single day"}]}
    far = {"o": [{"id": 2, "question": "something else entirely", "answer": "that nobody has written"}]}
    chosen = {("run", "source"): {"s": [{"id": "d", "text": f"{sentence} {items['o'][0]['answer']}"}]}}
    assert near_items(items, SETTINGS, chosen) == {("o", "1")}
    assert near_items(far, SETTINGS, chosen) == set()


def test_more_documents_are_held_out_where_items_are_nearly_in_the_text():
    # of the documents in hash order, every second one is the same sentence again
    def text(number):
        letters = "abcdefghijklmnopqrstuvwxyz"
        own = " ".join(f"word{letters[number // 26]}{letters[number % 26]}{letter}" for letter in letters)
        return own if number % 2 else " ".join(f"same{letter}" for letter in letters)

    records = {
        "s": [{"id": f"s-{n:012x}-0", "text": text(n)} for n in range(60)],
        "t": [{"id": f"t-{n:012x}-0", "text": f"target {n}"} for n in range(60)],
    }
    settings = dataclasses.replace(SETTINGS, protocol=3, items=2, bases=1)
    lines = []
    items, corpora, _ = items_and_text(
        records,
        {"s": "source", "t": "target"},
        settings,
        data=None,
        count_tokens=lambda texts: [30] * len(texts),
        progress=lines.append,
    )
    assert len(items["o"]) >= 4 and all(item["text"].startswith("word") for item in items["o"])
    assert lines.count("holding out more documents for o") >= 1
    held = {item["id"] for item in items["o"]}
    assert not held & {record["id"] for c in corpora for record in c.records}
