"""Scores on file: found again as long as all that they depend on is the same."""

import json
import re
from types import SimpleNamespace

import pytest

from dmix.training.evaluation import stored
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import (
    KnownModel,
    Score,
    known_evaluations,
    same_start,
    score_facts,
    scores_file,
    stored_scores,
)
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json

SETTINGS = EvaluationSettings()
SCORE = {"task": "t", "metric": "acc", "value": 0.5, "stderr": 0.1, "items": 2}


@pytest.fixture
def warehouse(tmp_path):
    return Warehouse.at(tmp_path)


def facts(*, content=None, items=None, settings=SETTINGS):
    return score_facts(content or {}, "t", items, settings)


def write(path, found, *, leave_out=(), **more):
    content = {**found, "scores": [SCORE], **more}
    publish_json(path, {name: value for name, value in content.items() if name not in leave_out})


def test_scores_come_back_with_those_of_their_items(tmp_path):
    path = tmp_path / "scores.json"
    assert stored_scores(path, facts()) is None
    write(path, facts(), item_scores=[0.0, 1.0])
    assert stored_scores(path, facts()) == ((Score(**SCORE),), (0.0, 1.0))
    write(path, facts())
    assert stored_scores(path, facts()) == ((Score(**SCORE),), ())


@pytest.mark.parametrize(
    "other",
    [
        facts(settings=EvaluationSettings(limit=3)),
        facts(settings=EvaluationSettings(few_shot=1)),
        facts(content={"the model that it starts from": "1"}),
        facts(items=SimpleNamespace(kind="qa", sha256="2")),
        {**facts(), "task": "u"},
    ],
)
def test_scores_of_other_settings_do_not_count(tmp_path, other):
    write(tmp_path / "scores.json", facts())
    assert stored_scores(tmp_path / "scores.json", other) is None


def test_scores_from_before_models_had_digests_still_count(tmp_path):
    write(tmp_path / "scores.json", facts(), leave_out=("content",))
    assert stored_scores(tmp_path / "scores.json", facts(content={"model": "1"})) is not None


def test_how_items_are_batched_is_no_fact_of_a_score():
    assert facts(settings=EvaluationSettings(batch_size=1)) == facts()


def test_a_task_is_a_file_of_its_own_for_each_step(warehouse):
    path = scores_file(warehouse, "r", 2, "judging/new words")
    assert path.parent == warehouse.run("r") / "evaluations"
    assert re.fullmatch(r"step2-judging_new_words-[0-9a-f]+\.json", path.name)


def test_known_scores_are_those_asked_for(warehouse):
    models = [KnownModel(step, "", None, {}) for step in (0, 2)]
    write(scores_file(warehouse, "r", 2, "t"), facts())
    asked = {"tasks": {"t": None, "u": None}}
    found = known_evaluations(warehouse, "r", models, settings=SETTINGS, **asked)
    assert list(found) == [(2, "t")] and found[2, "t"].stored
    again = EvaluationSettings(again=True)
    assert known_evaluations(warehouse, "r", models, settings=again, **asked) == {}


def test_the_same_start_lends_its_scores_to_runs_that_score_alike(warehouse, monkeypatch):
    training = SimpleNamespace(precision="fp32", reset_at_documents=False)
    configs = {name: SimpleNamespace(dataset="d", training=training) for name in ("mine", "same", "old")}
    configs["elsewhere"] = SimpleNamespace(dataset="e", training=training)

    def read(_, run_id):
        if run_id not in configs:
            raise NotFoundError(f"run {run_id} is gone")
        return configs[run_id]

    monkeypatch.setattr(stored, "read_config", read)
    start = facts(content={"model": "1"})
    for name in ("elsewhere", "gone"):
        write(scores_file(warehouse, name, 0, "t"), start)
    write(scores_file(warehouse, "old", 0, "t"), start, leave_out=("content",))
    write(scores_file(warehouse, "same", 0, "t"), facts(content={"model": "2"}))
    assert same_start(warehouse, "mine", "t", start) is None
    write(scores_file(warehouse, "same", 0, "t"), start)
    path, (scores, _) = same_start(warehouse, "mine", "t", start)
    assert path.parts[-3] == "same" and scores == (Score(**SCORE),)
    assert json.loads(path.read_text())["content"] == {"model": "1"}
