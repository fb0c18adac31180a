import gzip
import json

import numpy as np
import pytest

from dmix.mixing.trajectories.objectives import (
    SPLITS,
    Environment,
    Objective,
    items_digests,
    load_environment,
    read_items,
    split_text,
    utility,
    write_environment,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError


def objective(**values):
    return Objective(**{"name": "o", "role": "target", "kind": "qa", "path": "items.jsonl", **values})


def write_items(folder, records, name="items.jsonl"):
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / name).write_bytes(gzip.compress(lines.encode()) if name.endswith(".gz") else lines.encode())


def test_utility_is_the_weighted_change_in_units_of_the_scales():
    # 0.25 * (-1 - -2) / 0.5 + 0.75 * (-3 - -2) / 2 = 0.5 - 0.375
    got = utility(
        np.array([-1.0, -3.0]), np.array([-2.0, -2.0]), np.array([0.5, 2.0]), np.array([0.25, 0.75])
    )
    assert got == pytest.approx(0.125)


def test_utility_of_several_steps_has_one_value_a_step_and_nan_where_a_score_is_missing():
    scores = np.array([[-2.0, -2.0], [np.nan, -1.0]])
    got = utility(scores, scores[0], np.ones(2), np.full(2, 0.5))
    assert got[0] == 0 and np.isnan(got[1])


def test_weights_are_equal_unless_given_and_sum_to_one():
    assert Environment(objectives=(objective(), objective(name="p"))).weights_D.tolist() == [0.5, 0.5]
    uneven = Environment(objectives=(objective(weight=3), objective(name="p")))
    assert uneven.weights_D.tolist() == [0.75, 0.25]


def test_scales_are_one_until_they_are_known():
    environment = Environment(objectives=(objective(), objective(name="p")), scales={"p": 0.2})
    assert environment.scales_D.tolist() == [1.0, 0.2]


def test_environment_survives_its_file(tmp_path):
    environment = Environment(
        objectives=(objective(limit=3, weight=0.0), objective(name="p", licence="MIT")),
        scales={"p": 0.2},
        folder=str(tmp_path / "items"),
    )
    write_environment(tmp_path / "elsewhere" / "environment.yaml", environment)
    assert load_environment(tmp_path / "elsewhere" / "environment.yaml") == environment


def test_paths_start_from_the_environment_file(tmp_path):
    write_items(tmp_path, [{"id": "a", "question": "2 + 2?", "answer": "4"}])
    (tmp_path / "e.yaml").write_text("objectives: [{name: o, role: target, kind: qa, path: items.jsonl}]")
    environment = load_environment(tmp_path / "e.yaml")
    (item,) = read_items(environment.objectives[0], environment.folder)
    assert (item.prompt, item.answer) == ("2 + 2?\n", "4")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("objectives: []", "no objectives"),
        ("objectives: [{name: o, role: target, kind: quiz, path: x}]", "expected one of qa, continuation"),
        ("objectives: [{name: o, role: target, kind: qa, path: x, limit: 0}]", "limit is 0"),
        ("objectives: [{name: o, role: target, kind: qa, path: x, weight: -1}]", "weight is -1"),
        (
            "objectives: [{name: o, role: target, kind: qa, path: x, weight: 0}]",
            "has weight 0",
        ),
        ("objectives: [{name: o, role: target, kind: qa, path: x}]\nscales: {p: 1}", "not an objective"),
        ("objectives: [{name: o, role: target, kind: qa, path: x}]\nscales: {o: 0}", "above 0"),
        ("objectives: [{name: o, role: target, kind: qa, pth: x}]", "did you mean 'path'"),
    ],
)
def test_mistakes_in_an_environment_file_are_named(tmp_path, content, message):
    (tmp_path / "e.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        load_environment(tmp_path / "e.yaml")


def test_names_of_objectives_are_unique():
    with pytest.raises(InputError, match="same name: o, o; rename"):
        Environment(objectives=(objective(), objective()))


def test_continuation_is_cut_at_the_white_space_nearest_the_middle():
    assert split_text("aaaa bbbbbbbb cc") == ("aaaa", " bbbbbbbb cc")
    assert split_text("one two") == ("one", " two")
    assert split_text("abcdef") == ("abc", "def")


def test_continuation_items_join_to_the_text_again(tmp_path):
    write_items(tmp_path, [{"id": "a", "text": " The cat sat on the mat. "}], "items.jsonl.gz")
    (item,) = read_items(objective(kind="continuation", path="items.jsonl.gz"), tmp_path)
    assert item.prompt + item.answer == "The cat sat on the mat."
    assert item.answer.startswith(" ")


def test_limit_draws_the_same_items_again_in_file_order(tmp_path):
    write_items(tmp_path, [{"id": str(i), "question": "q", "answer": "a"} for i in range(50)])
    first = [item.item_id for item in read_items(objective(limit=10), tmp_path)]
    assert first == [item.item_id for item in read_items(objective(limit=10), tmp_path)]
    assert first == sorted(first, key=int) and len(set(first)) == 10
    assert first != [item.item_id for item in read_items(objective(limit=10, seed=1), tmp_path)]


def test_splits_are_disjoint_and_together_everything(tmp_path):
    write_items(tmp_path, [{"id": str(i), "question": "q", "answer": "a"} for i in range(200)])
    parts = [
        {item.item_id for item in read_items(objective(split=split), tmp_path)}
        for split in SPLITS
        if split != "all"
    ]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200
    assert all(len(part) > 20 for part in parts)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no items; .*with the keys id, question, answer$"),
        (b"not json\n", "line 1 is not JSON"),
        (b'{"question": "q", "answer": "a"}\n[1]\n', "line 2 is a list"),
        (
            b'{"question": "q"}\n',
            r"line 1: the record has no key 'answer', .*keys: question\).*kind qa need it",
        ),
        (b'{"question": "q", "answer": " "}\n', "key 'answer' is ' ', expected text"),
        (b'{"question": "q", "answer": "\xff"}\n', "line 1 is not JSON"),
    ],
)
def test_malformed_items_are_named_by_line(tmp_path, content, message):
    (tmp_path / "items.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_items(objective(), tmp_path)


def test_a_choice_keeps_all_options_and_knows_the_right_one(tmp_path):
    write_items(tmp_path, [{"id": "i", "question": "q", "choices": ["a", "b", "c"], "label": 1}])
    (item,) = read_items(objective(kind="choice"), tmp_path)
    assert (item.prompt, item.answer, item.choices) == ("q\n", "b", ("a", "b", "c"))


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"choices": ["a"], "label": 0}, "line 1: 'choices' is"),
        ({"choices": ["a", "a"], "label": 0}, "'choices' is"),
        ({"choices": ["a", ""], "label": 0}, "'choices' is"),
        ({"choices": ["a", "b"], "label": 2}, "'label' is 2, expected the index of one of 2"),
        ({"choices": ["a", "b"], "label": True}, "'label' is True"),
        ({"answer": "a"}, "'choices' is None"),
    ],
)
def test_malformed_choices_are_named_by_line(tmp_path, record, message):
    write_items(tmp_path, [{"id": "i", "question": "q", **record}])
    with pytest.raises(InputError, match=message):
        read_items(objective(kind="choice"), tmp_path)


def test_a_truncated_gzip_file_is_named(tmp_path):
    write_items(tmp_path, [{"id": str(i), "question": f"q{i}", "answer": "a"} for i in range(99)], "i.gz")
    (tmp_path / "i.gz").write_bytes((tmp_path / "i.gz").read_bytes()[:-20])
    with pytest.raises(InputError, match="damaged gzip"):
        read_items(objective(path="i.gz"), tmp_path)


def test_a_missing_item_file_is_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"nowhere.jsonl does not exist"):
        read_items(objective(path="nowhere.jsonl"), tmp_path)


@pytest.mark.parametrize("damaged", [slice(12, 13), slice(-8, -4)], ids=["deflate", "checksum"])
def test_a_damaged_gzip_file_is_named(tmp_path, damaged):
    write_items(tmp_path, [{"id": i, "question": "q", "answer": "a"} for i in range(99)], "items.jsonl.gz")
    content = bytearray((tmp_path / "items.jsonl.gz").read_bytes())
    content[damaged] = bytes(255 - byte for byte in content[damaged])
    (tmp_path / "items.jsonl.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"items.jsonl.gz is a damaged gzip file"):
        read_items(objective(path="items.jsonl.gz"), tmp_path)


@pytest.mark.parametrize("name", ["id", "question"])
def test_half_a_surrogate_pair_in_an_item_is_named_by_line(tmp_path, name):
    record = {"id": "a", "question": "q", "answer": "a"}
    write_items(tmp_path, [record, {**record, name: "\ud800"}])
    with pytest.raises(InputError, match=r"items.jsonl line 2 .*surrogates not allowed"):
        read_items(objective(), tmp_path)
    with pytest.raises(InputError, match="half a surrogate pair"):
        objective(name="\ud800")


def test_weights_that_cannot_be_summed_are_refused():
    with pytest.raises(InputError, match="too large to be summed"):
        Environment(objectives=(objective(weight=1e308), objective(name="p", weight=1e308)))


def test_a_line_that_no_memory_takes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.trajectories.objectives._LONGEST_LINE_BYTES", 1000)
    write_items(tmp_path, [{"question": "q", "answer": "a" * size} for size in (1, 10**6)], "i.gz")
    with pytest.raises(InputError, match="line 2 is longer than"):
        read_items(objective(path="i.gz"), tmp_path)


def test_items_are_known_by_all_of_their_content(tmp_path):
    before = {"id": "i", "question": "q", "choices": ["a", "b", "c"], "label": 1}
    environment = Environment(objectives=(objective(kind="choice"),), folder=str(tmp_path))
    digests = set()
    for change in ({}, {"id": "j"}, {"question": "r"}, {"choices": ["a", "b", "d"]}, {"label": 0}):
        write_items(tmp_path, [{**before, **change}])
        digests.add(items_digests(environment)["o"])
    assert len(digests) == 5
