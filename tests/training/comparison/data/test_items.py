"""Items: documents that are held out are gone from the text, layers share nothing."""

import json
from dataclasses import replace

import pytest

from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.items import (
    hold_out,
    item_texts,
    items_of_file,
    lacking_items,
    with_more_spare,
    write_layers,
)
from dmix.training.comparison.data.settings import LAYERS, ComparisonObjective, ComparisonSettings
from dmix.training.comparison.data.study_paths import StudyPaths
from dmix.training.comparison.data.text import document_of
from dmix.warehouse_schema.errors import InputError

ESSAYS = ComparisonObjective(name="essays", role="general", corpora=("a", "b"))
PROBLEMS = ComparisonObjective(name="problems", role="target", path="p.jsonl", topics=("sums",))


def settings(**changes):
    given = {"name": "s", "source": ("*",), "target": ("*",), "items": 3, "objectives": (ESSAYS, PROBLEMS)}
    return ComparisonSettings(**(given | changes))


def corpus(name, documents=10):
    return [
        {"id": f"{name}-{number:012x}-{part}", "text": f"{name} {number} " + "word " * 40}
        for number in range(documents)
        for part in range(2)
    ]


def test_no_part_of_a_held_out_document_is_left():
    items, left = hold_out({"a": corpus("a"), "b": corpus("b")}, settings())
    held = {document_of(item["id"]) for item in items["essays"]}
    assert len(items["essays"]) == len(held) == 9
    kept = {document_of(record["id"]) for records in left.values() for record in records}
    # five documents of each corpus are held out, one of them is not needed as an item
    assert not held & kept
    assert {name: len(records) for name, records in left.items()} == {"a": 10, "b": 10}


def test_corpora_take_turns():
    items, _ = hold_out({"a": corpus("a"), "b": corpus("b")}, settings())
    assert [item["id"][0] for item in items["essays"][:4]] == ["a", "b", "a", "b"]


def test_a_corpus_with_too_few_documents_is_refused():
    with pytest.raises(
        InputError, match=r"corpus 'b' has 3 documents to hold out, but 'essays' needs 5 .*lower `items`"
    ):
        hold_out({"a": corpus("a"), "b": corpus("b", documents=3)}, settings())
    with pytest.raises(InputError, match="objective 'essays' has the corpus 'b', which is not one of a"):
        hold_out({"a": corpus("a")}, settings())


def write_problems(folder, number=20, topic="sums"):
    lines = [
        {"id": f"p{i}", "question": "1 + 1?" + " long" * (40 * (i % 2)), "answer": "2", "topic": topic}
        for i in range(number)
    ]
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def count_words(texts):
    return [len(text.split()) for text in texts]


def test_items_that_do_not_fit_into_a_sample_are_left_out(tmp_path):
    write_problems(tmp_path)
    found = items_of_file(PROBLEMS, settings(seq_len=20), data=tmp_path, count_tokens=count_words)
    assert len(found) == 9
    assert all(len(item["question"]) < 10 for item in found)


def test_too_few_items_of_a_topic_are_refused(tmp_path):
    write_problems(tmp_path, topic="other")
    with pytest.raises(
        InputError, match="has 0 items of at most 256 tokens for 'problems', expected at least 9"
    ):
        items_of_file(PROBLEMS, settings(), data=tmp_path, count_tokens=count_words)


def test_layers_are_disjoint_and_readable_as_environments(tmp_path):
    paths = StudyPaths.of("s", work=tmp_path / "w", results=tmp_path / "r")
    write_problems(tmp_path)
    chosen = settings()
    items, _ = hold_out({"a": corpus("a"), "b": corpus("b")}, chosen)
    items["problems"] = items_of_file(PROBLEMS, chosen, data=tmp_path, count_tokens=count_words)
    write_layers(paths, chosen, items)
    keys = [set(item_texts(load_environment(paths.environment(layer)))) for layer in LAYERS]
    assert [len(found) for found in keys] == [6, 6, 6]
    assert len(set.union(*keys)) == 18


def test_an_environment_of_a_layer_moves_with_its_folder(tmp_path):
    paths = StudyPaths.of("s", work=tmp_path / "work", results=tmp_path / "results")
    one = settings(objectives=(ESSAYS,))
    write_layers(paths, one, {"essays": [{"id": f"i{n}", "text": "some text"} for n in range(9)]})
    moved = (tmp_path / "work").rename(tmp_path / "moved")
    environment = load_environment(moved / "s" / "items" / "feedback.yaml")
    assert environment.folder == str(moved / "s" / "items")
    assert len(item_texts(environment)) == 3


def test_choices_of_a_file_get_the_letters_that_their_questions_show(tmp_path):
    record = {"id": "q", "question": "2?\nA. one\nB. two", "choices": ["one", "two"], "label": 1}
    (tmp_path / "c.jsonl").write_text(json.dumps(record) + "\n")
    guesses = ComparisonObjective(name="guesses", role="target", path="c.jsonl", form="choice")
    one = settings(objectives=(guesses,), items=1, protocol=3, seq_len=64)
    many = [json.dumps({**record, "id": f"q{n}"}) for n in range(3)]
    (tmp_path / "c.jsonl").write_text("\n".join(many))
    found = items_of_file(guesses, one, data=tmp_path, count_tokens=lambda texts: [5] * len(texts))
    assert found[0]["choices"] == ["A. one", "B. two"]
    assert (found[0]["label"], found[0]["answer"]) == (1, "B. two")


def test_a_worked_answer_may_be_another_field(tmp_path):
    lines = [json.dumps({"id": f"q{n}", "question": "q", "answer": "B", "why": "since"}) for n in range(3)]
    (tmp_path / "w.jsonl").write_text("\n".join(lines))
    worked = ComparisonObjective(name="worked", role="target", path="w.jsonl", answer="why")
    one = settings(objectives=(worked,), items=1)
    found = items_of_file(worked, one, data=tmp_path, count_tokens=lambda texts: [5] * len(texts))
    assert {item["answer"] for item in found} == {"since"}


def test_objectives_that_lack_items_hold_out_more_until_they_have_enough():
    needed = settings(protocol=3, objectives=(ESSAYS, PROBLEMS))
    assert lacking_items({"essays": [{}] * 6, "problems": []}, needed) == [], "files have no more to give"
    assert lacking_items({"essays": [{}] * 5, "problems": []}, needed) == ["essays"]
    tried = needed
    for spare in (0.5, 1.0, 2.0):
        tried = with_more_spare(tried, ["essays"])
        assert [o.spare for o in tried.objectives] == [spare, PROBLEMS.spare]
    assert lacking_items({"essays": [], "problems": []}, tried) == [], "no more can be asked for"
    assert (
        with_more_spare(settings(objectives=(replace(ESSAYS, spare=0.0),)), ["essays"]).objectives[0].spare
        > 0
    )
