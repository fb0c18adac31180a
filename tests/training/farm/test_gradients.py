"""Gradients of a tiny model predict what a small step does to its scores."""

import numpy as np
import pytest
import torch

from dmix.mixing.effects.gradients import GradientBudget, gradient_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.training.farm.gradients import (
    GradientTask,
    encoded_items,
    gradient_products,
    loss_gradient,
    rate_sum,
    score_gradient,
)
from dmix.training.model.models import load_model
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def task(tiny_warehouse, environment, tiny_model, fast_training):
    return GradientTask(
        warehouse=tiny_warehouse,
        manifest=read_dataset_manifest(tiny_warehouse),
        environment=environment,
        model=tiny_model,
        training=fast_training,
    )


def scores(model, items):
    """Mean over items of the mean log-probability of the answer, by other code."""
    found = []
    for item in items:
        with torch.no_grad():
            logits = model.network(**model.whole_view(torch.tensor([item.ids]))).logits[0].log_softmax(-1)
        places = range(item.answer_start, len(item.ids))
        found.append(np.mean([float(logits[place - 1, item.ids[place]]) for place in places]))
    return float(np.mean(found))


def test_the_gradient_of_a_score_is_its_slope(task):
    model = load_model(task.model, task.manifest).eval()
    items = encoded_items(task, max_length=64)[1]
    before = scores(model, items)
    score_gradient(model, items)
    rate = 1e-4
    slope = sum(float((weight.grad**2).sum()) for weight in model.parameters())
    with torch.no_grad():
        for weight in model.parameters():
            weight += rate * weight.grad
    assert scores(model, items) - before == pytest.approx(rate * slope, rel=0.05)


def test_microbatches_change_nothing(task):
    model = load_model(task.model, task.manifest).eval()
    ids = torch.arange(5 * 16).view(5, 16) % 20
    grads = []
    for microbatch in (None, 2):
        loss_gradient(model, ids, microbatch=microbatch)
        grads.append([weight.grad.clone() for weight in model.parameters()])
    for whole, parts in zip(*grads, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_text_of_each_field_helps_the_objective_in_its_letters(task):
    budget = GradientBudget(batches=2, samples=4, items=None, tokens=0)
    lines = []
    products = gradient_products(task, budget, progress=lines.append)
    space = DomainSpace.of_dataset(task.manifest)
    effect, _ = gradient_effects(products, space.natural_N, rate_sum=0.01)
    general, target = effect[:, 0], effect[:, 1]
    assert (
        general[space.active_N & ~space.target_N].min() > 0 > general[space.active_N & space.target_N].max()
    )
    assert target[space.active_N & space.target_N].min() > 0 > target[space.active_N & ~space.target_N].max()
    assert any("objective target" in line for line in lines)


def test_rates_of_a_run_are_summed_over_its_schedule():
    flat = TrainingSettings(batch_size=8, learning_rate=0.1, warmup=0.0, schedule="constant")
    assert rate_sum(80, flat) == pytest.approx(1.0)
    warm = TrainingSettings(batch_size=8, learning_rate=0.1, warmup=0.2, schedule="constant")
    # of ten updates the first two are at 1/2 and 2/2
    assert rate_sum(80, warm) == pytest.approx(0.95)
