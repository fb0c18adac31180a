import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from dmix.mixing.trajectories.encoding import load_tokenizer_file
from dmix.mixing.trajectories.objectives import Environment, Objective
from dmix.training.model.model_stack import ModelStack, stacked_parameters
from dmix.training.model.models import load_model
from dmix.training.scoring.environment import Scorer, batches_by_length
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


@pytest.fixture
def tokenizer(tiny_warehouse):
    return load_tokenizer_file(tiny_warehouse.stream("tiny") / "tokenizer.json")


def make_scorer(folder, tokenizer, manifest, items, **options):
    """A scorer of one objective with the given (question, answer) pairs."""
    lines = [json.dumps({"id": str(i), "question": q, "answer": a}) for i, (q, a) in enumerate(items)]
    (folder / "items.jsonl").write_text("\n".join(lines))
    objective = Objective(name="o", role="target", kind="qa", path="items.jsonl")
    options = {"max_length": 64, **options}
    return Scorer(
        Environment(objectives=(objective,), folder=str(folder)),
        tokenizer=tokenizer,
        tokenizer_file=manifest.tokenizer,
        **options,
    )


ITEMS = [("abc", "d"), ("wxyz" * 9, "wx" * 4), ("a", "bcdabcd"), ("zz", "y"), ("wx" * 3, "yzwxyz")]


def test_score_is_the_mean_over_items_of_the_mean_over_answer_tokens(
    tmp_path, tokenizer, manifest, tiny_model
):
    model = load_model(tiny_model, manifest).eval()
    got = make_scorer(tmp_path, tokenizer, manifest, [("ab", "cd"), ("x", "yzw")]).scores(model)
    # by hand: log-softmax of the full logits at the positions before the answer's tokens
    means = []
    for question, answer in [("ab", "cd"), ("x", "yzw")]:
        ids = [0, *tokenizer.encode(question + "\n").ids, *tokenizer.encode(answer).ids]
        logits = model.network(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        first = len(ids) - len(answer)
        means.append(np.mean([logits[p - 1, ids[p]].item() for p in range(first, len(ids))]))
    assert got.shape == (1,)
    assert got[0] == pytest.approx(np.mean(means), abs=1e-5)


def test_a_model_without_preferences_scores_minus_log_of_the_vocabulary(
    tmp_path, tokenizer, manifest, tiny_model
):
    model = load_model(tiny_model, manifest)
    torch.nn.init.zeros_(model.network.lm_head.weight)
    got = make_scorer(tmp_path, tokenizer, manifest, ITEMS).scores(model)
    assert got[0] == pytest.approx(-math.log(257), abs=1e-5)


def test_batch_size_does_not_change_scores(tmp_path, tokenizer, manifest, tiny_model):
    model = load_model(tiny_model, manifest)
    scores = [
        make_scorer(tmp_path, tokenizer, manifest, ITEMS, batch_tokens=size).scores(model)[0]
        for size in (1, 50, 100_000)
    ]
    assert max(scores) - min(scores) < 1e-5


def test_the_models_of_a_stack_have_the_scores_that_they_have_alone(
    tmp_path, tokenizer, manifest, tiny_model
):
    seeds = (1, 2, 3)
    models = [load_model(dataclasses.replace(tiny_model, seed=seed), manifest) for seed in seeds]
    scorer = make_scorer(tmp_path, tokenizer, manifest, ITEMS, batch_tokens=50)
    expected = np.stack([scorer.scores(model) for model in models])
    stack = ModelStack.of_copies(load_model(tiny_model, manifest), len(seeds))
    for name, weight in stack.weights.items():
        stacked = torch.stack([stacked_parameters(model)[name].detach() for model in models])
        weight.data.copy_(stacked)
    found = scorer.stack_scores(stack)
    assert found.shape == (3, 1) and found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_scoring_leaves_the_model_in_its_mode_and_without_gradients(
    tmp_path, tokenizer, manifest, tiny_model
):
    model = load_model(tiny_model, manifest).train()
    make_scorer(tmp_path, tokenizer, manifest, ITEMS).scores(model)
    assert model.training and all(weight.grad is None for weight in model.parameters())


def test_answers_that_are_too_long_lose_their_end_and_are_counted(tmp_path, tokenizer, manifest, caplog):
    make_scorer(tmp_path, tokenizer, manifest, [("a", "bcdefg"), ("a", "b")], max_length=4)
    assert "cut 1 of 2 answers to the model's context length of 4 tokens" in caplog.text


def test_a_model_that_is_sure_of_what_is_wrong_is_said_to_be_broken(
    tmp_path, tokenizer, manifest, tiny_model, caplog
):
    model = load_model(tiny_model, manifest)
    scorer = make_scorer(tmp_path, tokenizer, manifest, ITEMS)
    for logit, warned in ((2.0, False), (1e4, True)):
        with torch.no_grad():
            model.network.lm_head.weight[200].fill_(logit)
        assert np.isfinite(scorer.scores(model)).all()
        assert ("training diverged" in caplog.text) == warned


def test_items_of_similar_length_share_a_batch():
    assert batches_by_length([3, 9, 4, 8, 30], batch_tokens=18) == [[4], [1, 3], [2, 0]]
    assert batches_by_length([], batch_tokens=18) == []


def choice_scorer(folder, tokenizer, manifest, records):
    (folder / "items.jsonl").write_text("\n".join(json.dumps(record) for record in records))
    objective = Objective(name="o", role="target", kind="choice", path="items.jsonl")
    return Scorer(
        Environment(objectives=(objective,), folder=str(folder)),
        tokenizer=tokenizer,
        tokenizer_file=manifest.tokenizer,
        max_length=64,
    )


def test_a_choice_scores_the_right_one_among_all_by_their_whole_texts(
    tmp_path, tokenizer, manifest, tiny_model
):
    model = load_model(tiny_model, manifest).eval()
    record = {"id": "i", "question": "ab", "choices": ["x", "yzw", "d"], "label": 1}
    got = choice_scorer(tmp_path, tokenizer, manifest, [record]).scores(model)
    totals = []
    for choice in record["choices"]:
        ids = [0, *tokenizer.encode("ab\n").ids, *tokenizer.encode(choice).ids]
        logits = model.network(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        first = len(ids) - len(choice)
        totals.append(sum(logits[p - 1, ids[p]].item() for p in range(first, len(ids))))
    assert got[0] == pytest.approx(totals[1] - np.logaddexp.reduce(totals), abs=1e-5)


def test_a_model_without_preferences_chooses_among_texts_of_one_length_at_random(
    tmp_path, tokenizer, manifest, tiny_model
):
    model = load_model(tiny_model, manifest)
    torch.nn.init.zeros_(model.network.lm_head.weight)
    records = [{"id": str(n), "question": "q", "choices": list("abcd"), "label": n} for n in range(4)]
    got = choice_scorer(tmp_path, tokenizer, manifest, records)
    assert got.scores(model)[0] == pytest.approx(-math.log(4), abs=1e-5)
    assert got.item_ids == ["0", "1", "2", "3"]
    stack = ModelStack.of_copies(model, 2)
    assert got.stack_scores(stack) == pytest.approx(np.full((2, 1), -math.log(4)), abs=1e-5)
