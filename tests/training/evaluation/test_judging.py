"""What training did to items that no controller saw."""

import numpy as np
import pytest

from dmix.mixing.trajectories.objectives import Environment
from dmix.training.evaluation.judging import (
    Change,
    Items,
    Judged,
    change_of,
    items_sha256,
    judged_changes,
    judged_sentence,
    scale_of,
    with_noise,
)
from dmix.warehouse_schema.files.layout import Warehouse, publish_json
from dmix.warehouse_schema.settings import settings_from


def test_a_change_has_the_error_of_paired_items():
    # differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, error 0.1 / sqrt(3)
    change = change_of([-3.0, -1.0, -2.0], [-2.9, -0.8, -1.7])
    assert change.change == pytest.approx(0.2) and change.stderr == pytest.approx(0.1 / np.sqrt(3))
    assert change.beyond_noise
    assert change_of([-1.0], [-0.5]).stderr is None and not change_of([-1.0], [-0.5]).beyond_noise
    with pytest.raises(ValueError, match="the same items"):
        change_of([1.0], [1.0, 2.0])


MATHS = Items("judging/maths", "1", None)


def judged(change, *, stderr=0.1, role="target", **more):
    return Judged(items=MATHS, role=role, step=4, change=Change(-3.0, -3.0 + change, change, stderr), **more)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"change": 0.5}, "learned"),
        ({"change": -0.5}, "worse"),
        ({"change": 0.3}, "learned a little"),
        ({"change": 0.05, "stderr": 0.001}, "unchanged"),  # by the scale; few seeds and many items
        ({"change": 0.05, "stderr": 0.001, "scale": 0.1}, "learned"),
        ({"change": 0.5, "noise": 0.3}, "unchanged"),  # by the seeds
        ({"change": -0.5, "role": "general"}, "forgot"),
        ({"change": 0.2}, "learned a little, but within the noise of the items"),
        ({"change": 0.5, "stderr": None}, "learned, but by one item alone"),
    ],
)
def test_a_change_has_the_word_of_a_run_and_a_caution_of_its_items(given, word):
    one = judged(**given)
    assert one.word == word and one.word.startswith(one.verdict.word)
    error = {None: "(one item)", 0.1: "± 0.100", 0.001: "± 0.001"}[one.change.stderr]
    assert one.text == f"maths {given['change']:+.3f} {error}"


def test_noise_between_seeds_is_that_of_the_same_items_and_step():
    other = Judged(items=MATHS, role="target", step=2, change=Change(0.0, 9.0, 9.0, 0.1))
    runs = {"a": [judged(0.4)], "b": [judged(0.6)], "c": [other], "d": [judged(7.0)]}
    found = with_noise(runs, [["a", "b", "c"], ["d"]])
    # half of 0.2 squared, twice, over one degree of freedom
    assert found["a"][0].noise == pytest.approx(0.02**0.5) == found["d"][0].noise
    assert found["c"][0].noise is None
    assert with_noise({"a": [judged(0.4)]}, [["a"]])["a"][0].noise is None


def test_a_scale_is_that_of_the_run_first():
    content = {"objectives": [{"name": "maths", "role": "target", "kind": "qa", "path": "m"}]}
    environment = settings_from(Environment, {**content, "scales": {"maths": 0.25}}, where="test")
    assert scale_of("maths", environment, given=9.0) == 0.25
    assert scale_of("other", environment, given=9.0) == 9.0
    assert scale_of("other", environment) == scale_of("maths", None) == 1.0


def test_items_are_other_ones_in_another_form():
    assert items_sha256("d", "qa") != items_sha256("d", "choice")
    assert items_sha256("d", "qa") != items_sha256("e", "qa")


def test_the_answer_names_runs_where_there_are_several():
    assert judged_sentence({}) == judged_sentence({"a": []}) == ""
    alone = judged_sentence({"a": [judged(1.0)]})
    assert alone == "On items that no controller saw: maths +1.000 ± 0.100 (learned)."
    assert "run a: maths" in judged_sentence({"a": [judged(1.0)], "b": [judged(1.0)]})


def test_targets_come_first_and_the_last_step_counts(warehouse):
    write_scores(warehouse, "general", {0: -1.0, 2: -1.0, 4: -2.0})
    write_scores(warehouse, "maths", {0: -3.0, 2: -2.0}, role="target")
    write_scores(warehouse, "unscored", {0: -3.0})
    write_scores(warehouse, "without role", {0: -3.0, 2: -2.0}, role=None)
    found = judged_changes(warehouse, "r")
    assert [(one.name, one.role, one.step, one.change.change) for one in found] == [
        ("maths", "target", 2, 1.0),
        ("general", "general", 4, -1.0),
    ]


def test_a_file_without_a_role_takes_that_of_the_objective_of_its_name(warehouse):
    write_scores(warehouse, "maths", {0: -3.0, 2: -2.0}, role=None)
    content = {"objectives": [{"name": "maths", "role": "target", "kind": "qa", "path": "m"}]}
    environment = settings_from(Environment, content, where="test")
    assert [one.role for one in judged_changes(warehouse, "r", environment=environment)] == ["target"]


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def write_scores(warehouse, name, by_step, *, role="general"):
    for step, score in by_step.items():
        content = {"task": f"judging/{name}", "items_sha256": "1", "limit": None, "role": role}
        path = warehouse.run("r") / "evaluations" / f"step{step}-{name}.json"
        publish_json(path, {**content, "step": step, "item_scores": [score, score]})
