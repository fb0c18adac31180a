"""The objectives of an environment file judge the models of a run, on items that it never saw."""

import json
import shutil
from dataclasses import replace

import pytest

from dmix.cli.workflows.runs.evaluate import evaluate_models
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.evaluation.objective_tasks import read_objective_tasks
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import scores_file
from dmix.training.evaluation.verdicts import UNCHANGED, WORDS
from dmix.training.run.config import make_config
from dmix.training.run.launch import start_run
from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import publish_json, read_json

RUN = "scored"


@pytest.fixture
def judging(tmp_path):
    for role, words in (("general", "The ship sails on. "), ("target", "x plus y is z. ")):
        records = [{"id": str(i), "text": words * (i + 2)} for i in range(4)]
        (tmp_path / f"{role}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    path = tmp_path / "judging.yaml"
    path.write_text(
        "objectives:\n"
        "  - {name: old, role: general, kind: continuation, path: general.jsonl}\n"
        "  - {name: new, role: target, kind: continuation, path: target.jsonl, weight: 0}\n"
    )
    return path


@pytest.fixture(scope="module")
def scored_run(tiny_warehouse, fast_training, tmp_path_factory):
    model = tmp_path_factory.mktemp("scored") / "model.yaml"
    model.write_text(
        "architecture: llama\n"
        "config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2}\n"
    )
    config = make_config(
        tiny_warehouse,
        RunRequest(steps=2, samples_per_step=16),
        model=str(model),
        controller="natural",
        training=replace(fast_training, learning_rate=1e-2),
        run_id=RUN,
    )
    start_run(tiny_warehouse, config, progress=lambda line: None)
    return tiny_warehouse


def judged(warehouse, path, **arguments):
    values = {"run_id": RUN, "steps": ["0", "2"], "settings": EvaluationSettings(), **arguments}
    return evaluate_models(warehouse, environment=path, progress=lambda line: None, **values)


def test_an_environment_judges_a_run_before_and_after(scored_run, judging):
    result = judged(scored_run, judging, settings=EvaluationSettings(again=True))
    assert [(row["step"], row["task"]) for row in result.facts] == [
        (step, f"judging/{name}") for step in (0, 2) for name in ("old", "new")
    ]
    assert {row["metric"] for row in result.facts} == {"score"}
    changes = result.df(1)
    assert list(changes["objective"]) == ["judging/old", "judging/new"]
    assert list(changes["role"]) == ["general", "target"]
    score = {(row["step"], row["task"]): row["value"] for row in result.facts}
    for name, change in zip(changes["objective"], changes["change"], strict=True):
        assert float(change) == pytest.approx(score[2, name] - score[0, name])
    words = {word for of in WORDS.values() for grades in of for word in grades} | {UNCHANGED}
    assert {word.partition(", but ")[0] for word in changes["verdict"]} <= words
    of_last = [row for row in result.facts if row["step"] == 2]
    assert [row["change_stderr"] for row in of_last] == list(changes["stderr"])
    assert [row["beyond_noise"] for row in of_last] == list(result.df().query("step == 2")["beyond_noise"])
    assert [row["verdict"] for row in of_last] == [word.partition(", but ")[0] for word in changes["verdict"]]
    assert {row["change"] for row in result.facts if row["step"] == 0} == {None}
    with Catalog.open_reader(scored_run) as catalog:
        _, rows = catalog.query("SELECT step, task, value, items FROM evaluations WHERE run_id = ?", [RUN])
    assert {(step, task): value for step, task, value, _ in rows} == pytest.approx(score)
    assert {items for *_, items in rows} == {4}


def test_stored_scores_give_the_same_changes(scored_run, judging):
    first, second = judged(scored_run, judging), judged(scored_run, judging)
    assert all(evaluation.stored for evaluation in second.value)
    assert second.df(1).equals(first.df(1))
    file = scores_file(scored_run, RUN, 2, "judging/new")
    stored = read_json(file)
    assert (stored["role"], stored["scale"]) == ("target", None)
    publish_json(file, {name: value for name, value in stored.items() if name not in ("role", "scale")})
    judging.write_text(judging.read_text() + "scales: {new: 0.5}\n")
    # an older version's file, which lacks both, gets what the environment file says; no score changes
    assert all(evaluation.stored for evaluation in judged(scored_run, judging).value)
    assert read_json(file) == {**stored, "scale": 0.5}
    planned = judged(scored_run, judging, dry_run=True)
    assert {row["stored"] for row in planned.facts} == {True} and "has scores already" in repr(planned)


def test_scores_that_are_known_load_no_model_and_serve_runs_of_the_same_start(
    scored_run, judging, monkeypatch
):
    judged(scored_run, judging)
    shutil.copytree(scored_run.run(RUN), scored_run.run("sibling"))
    shutil.rmtree(scored_run.run("sibling") / "evaluations")
    loaded = []
    monkeypatch.setattr(
        "dmix.training.evaluation.candidates.load_model", lambda *args, **kwargs: loaded.append(args)
    )
    judged(scored_run, judging, run_id="sibling", steps=["0"])
    judged(scored_run, judging)
    assert loaded == []
    shutil.rmtree(scored_run.run("sibling"))


def test_a_limit_scores_fewer_items(scored_run, judging):
    result = judged(scored_run, judging, settings=EvaluationSettings(limit=2))
    assert {row["items"] for row in result.facts} == {2}


def test_one_step_has_no_change_and_a_line_says_how_to_get_one(scored_run, judging):
    result = judged(scored_run, judging, steps=["2"])
    assert len(result.tables) == 1
    assert any("--step all" in block for block in result.blocks if isinstance(block, str))


def test_the_dry_run_counts_the_items(scored_run, judging):
    result = judged(scored_run, judging, dry_run=True)
    assert [(row["step"], row["task"], row["items"]) for row in result.facts][:2] == [
        (0, "judging/old", 4),
        (0, "judging/new", 4),
    ]


def test_other_items_under_the_same_name_are_refused(scored_run, judging):
    judged(scored_run, judging)
    (judging.parent / "general.jsonl").write_text('{"id": "1", "text": "other words than before"}\n')
    with pytest.raises(InputError, match="the items of task judging/old changed"):
        judged(scored_run, judging)


def test_tasks_carry_role_and_kind(judging):
    old, new = read_objective_tasks(judging)
    assert (old.name, old.role, old.kind, old.num_items) == ("judging/old", "general", "continuation", 4)
    assert new.environment.weights_D == 1.0
    assert old.sha256 != new.sha256 and old.scale is None
    with pytest.raises(NotFoundError):
        read_objective_tasks(judging.parent / "none.yaml")
    assert load_environment(judging).names == ("old", "new")
