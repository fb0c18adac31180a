"""Evaluations of a real run; with lm-evaluation-harness where it is installed, and without it."""

import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.training.evaluation.conftest import RUN

from dmix.training.evaluation import benchmark as module
from dmix.training.evaluation.benchmark import benchmark_models
from dmix.training.evaluation.candidates import model_candidate, run_candidates
from dmix.training.evaluation.item_tasks import read_item_task
from dmix.training.evaluation.settings import EvaluationSettings
from dmix.training.evaluation.stored import Score
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.changes import accepted_changes


@pytest.fixture
def item_task(tmp_path):
    path = tmp_path / "letters.jsonl"
    records = [
        {"question": "abcd" * (i + 1), "choices": ["abcd", "zzzz"], "label": 0, "answer": "abcd"}
        for i in range(3)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_item_task(path, kind="multiple_choice")


class CountingHarness:
    """Gives the step's number as the score, and counts how often it is asked."""

    asked = 0

    def __init__(self, names, item_tasks):
        pass

    def scores(self, task, network, tokenizer, *, settings):
        CountingHarness.asked += 1
        return [Score(task=task, metric="acc", value=0.5, stderr=None, items=settings.limit)]


def test_scores_are_kept_and_found_again_until_settings_change(judged_run, item_task, monkeypatch):
    monkeypatch.setattr(module, "Harness", CountingHarness)
    candidates = run_candidates(judged_run, RUN, ["0", "2"])

    def call(**settings):
        CountingHarness.asked = 0
        found = benchmark_models(
            candidates,
            tasks=[],
            item_tasks=[item_task],
            settings=EvaluationSettings(**settings),
            keep=(judged_run, RUN),
            progress=lambda line: None,
        )
        return CountingHarness.asked, [evaluation.stored for evaluation in found]

    assert call() == (2, [False, False])
    assert call() == (0, [True, True])
    assert call(limit=2) == (2, [False, False])
    assert call(limit=2, again=True) == (2, [False, False])
    sync(judged_run)
    with Catalog.open_reader(judged_run) as catalog:
        _, rows = catalog.query(
            "select run_id, step, task, metric, value, items from evaluations where task = 'letters'"
            " order by step"
        )
    assert rows == [(RUN, 0, "letters", "acc", 0.5, 2), (RUN, 2, "letters", "acc", 0.5, 2)]


def test_other_items_or_another_first_model_are_refused_unless_they_are_accepted(
    judged_run, tmp_path, item_task, monkeypatch
):
    monkeypatch.setattr(module, "Harness", CountingHarness)
    shutil.copytree(judged_run.run(RUN), judged_run.run("changed"))
    shutil.rmtree(judged_run.run("changed") / "evaluations", ignore_errors=True)
    config = judged_run.run("changed") / "config.yaml"
    config.write_text(config.read_text().replace(f"run_id: {RUN}", "run_id: changed"))

    def call(task, step, **values):
        benchmark_models(
            run_candidates(judged_run, "changed", [step]),
            tasks=[],
            item_tasks=[task],
            settings=EvaluationSettings(),
            keep=(judged_run, "changed"),
            progress=lambda line: None,
            **values,
        )

    call(item_task, "2")
    other = replace(item_task, sha256="1" * 64)
    with pytest.raises(InputError, match="the items of task letters changed"):
        call(other, "1")
    call(other, "1", accept_changes=True)
    call(other, "2")  # the newest are what others are compared with
    config.write_text(config.read_text().replace("hidden_size: 32", "hidden_size: 16"))
    with pytest.raises(InputError, match="the model that it starts from changed"):
        call(other, "0")
    call(other, "3")  # what a checkpoint holds needs no first model
    call(other, "0", accept_changes=True)
    # other tests accept changes in the same warehouse
    found = {place: change for place, change in accepted_changes(judged_run) if "of run changed" in place}
    assert {place: change.what for place, change in found.items()} == {
        "evaluation step1-letters of run changed": "the items of task letters",
        "evaluation step0-letters of run changed": "the model that it starts from",
    }
    assert found["evaluation step1-letters of run changed"].after == "1" * 64


def test_nothing_to_evaluate_on_is_refused(judged_run):
    with pytest.raises(InputError, match="give --task NAME, --items FILE or --environment FILE"):
        benchmark_models([], tasks=[], settings=EvaluationSettings(), progress=lambda line: None)


def test_the_harness_scores_items_without_a_network(judged_run, item_task, monkeypatch):
    pytest.importorskip("lm_eval", reason="lm-evaluation-harness is the extra 'eval'")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    candidate = model_candidate(str(judged_run.run(RUN) / "model"))
    (found,) = benchmark_models(
        [candidate],
        tasks=[],
        item_tasks=[item_task],
        settings=EvaluationSettings(),
        progress=lambda line: None,
    )
    assert {score.metric for score in found.scores} == {"acc", "acc_norm"}
    network, tokenizer = candidate.load()

    def log_probability(question, answer):
        prompt, rest = tokenizer(question + "\nAnswer:").input_ids, tokenizer(" " + answer).input_ids
        ids_L = torch.tensor(prompt + rest)
        with torch.no_grad():
            logs_LV = torch.log_softmax(network(ids_L[None]).logits[0], -1)
        return sum(float(logs_LV[i - 1, ids_L[i]]) for i in range(len(prompt), len(ids_L)))

    right = [
        np.argmax([log_probability(record["question"], choice) for choice in record["choices"]])
        == record["label"]
        for record in item_task.records
    ]
    (accuracy,) = [score for score in found.scores if score.metric == "acc"]
    assert accuracy.value == pytest.approx(np.mean(right)) and accuracy.items == 3
    assert accuracy.stderr is None or math.isfinite(accuracy.stderr)
