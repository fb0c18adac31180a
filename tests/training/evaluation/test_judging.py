"""What training did to items that no controller saw."""

import numpy as np
import pytest

from dmix.training.evaluation.judging import (
    Change,
    Judged,
    change_of,
    items_sha256,
    judged_changes,
    judged_sentence,
)
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


def test_a_change_has_the_error_of_paired_items():
    # differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, error 0.1 / sqrt(3)
    change = change_of([-3.0, -1.0, -2.0], [-2.9, -0.8, -1.7])
    assert change.change == pytest.approx(0.2) and change.stderr == pytest.approx(0.1 / np.sqrt(3))
    assert change.beyond_noise
    assert change_of([-1.0], [-0.5]).stderr is None and not change_of([-1.0], [-0.5]).beyond_noise
    with pytest.raises(ValueError, match="the same items"):
        change_of([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("role", "change", "stderr", "word"),
    [
        ("target", 0.5, 0.1, "learned"),
        ("target", -0.5, 0.1, "worse"),
        ("target", 0.2, 0.1, "unchanged"),
        ("general", 0.5, 0.1, "not forgotten"),
        ("general", -0.5, 0.1, "forgotten"),
        ("general", -0.5, None, "unchanged"),
    ],
)
def test_a_change_has_a_word_by_its_role(role, change, stderr, word):
    judged = Judged("maths", role, 4, Change(-3.0, -3.0 + change, change, stderr))
    assert judged.word == word
    assert judged.text == f"maths {change:+.3f} {'(one item)' if stderr is None else '± 0.100'}"


def test_items_are_other_ones_in_another_form():
    assert items_sha256("d", "qa") != items_sha256("d", "choice")
    assert items_sha256("d", "qa") != items_sha256("e", "qa")


def test_the_answer_names_runs_where_there_are_several():
    judged = [Judged("maths", "target", 4, Change(0.0, 1.0, 1.0, 0.1))]
    assert judged_sentence({}) == judged_sentence({"a": []}) == ""
    alone = judged_sentence({"a": judged})
    assert alone == "On items that no controller saw: maths +1.000 ± 0.100 (learned)."
    assert "run a: maths" in judged_sentence({"a": judged, "b": judged})


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
    objectives = [{"name": "maths", "role": "target", "kind": "qa"}]
    assert [one.role for one in judged_changes(warehouse, "r", objectives=objectives)] == ["target"]


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def write_scores(warehouse, name, by_step, *, role="general"):
    for step, score in by_step.items():
        content = {"task": f"judging/{name}", "items_sha256": "1", "limit": None, "role": role}
        path = warehouse.run("r") / "evaluations" / f"step{step}-{name}.json"
        publish_json(path, {**content, "step": step, "item_scores": [score, score]})
