"""Gradients of a tiny model predict what a small step does to its scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dmix.cli.workflows.effects.gradients import gradient_task
from dmix.mixing.effects.gradients import GradientBudget, gradient_effects
from dmix.mixing.space.domains import DomainSpace
from dmix.training.model.models import load_model
from dmix.training.model.settings import TrainingSettings
from dmix.training.scoring.gradient_task import encoded_items
from dmix.training.scoring.gradients import (
    Sketch,
    gradient_products,
    load_moments,
    loss_gradient,
    rate_sum,
    score_gradient,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def task(tiny_warehouse, environment, fast_training):
    return gradient_task(tiny_warehouse, read_dataset_manifest(tiny_warehouse), environment, fast_training)


@pytest.fixture
def model(tiny_model, task):
    return load_model(tiny_model, task.manifest).eval()


def scores(model, items):
    """Mean over items of the mean log-probability of the answer, by other code."""
    found = []
    for item in items:
        with torch.no_grad():
            logits = model.network(**model.whole_view(torch.tensor([item.ids]))).logits[0].log_softmax(-1)
        places = range(item.answer_start, len(item.ids))
        found.append(np.mean([float(logits[place - 1, item.ids[place]]) for place in places]))
    return float(np.mean(found))


def test_the_gradient_of_a_score_is_its_slope(model, task):
    items = encoded_items(task, max_length=64)[1]
    before = scores(model, items)
    score_gradient(model, items, training=task.training)
    rate = 1e-4
    slope = sum(float((weight.grad**2).sum()) for weight in model.parameters())
    with torch.no_grad():
        for weight in model.parameters():
            weight += rate * weight.grad
    assert scores(model, items) - before == pytest.approx(rate * slope, rel=0.05)


def test_microbatches_change_nothing(model, task):
    ids = torch.arange(5 * 16).view(5, 16) % 20
    grads = []
    for microbatch in (None, 2):
        loss_gradient(model, ids, training=replace(task.training, microbatch_size=microbatch))
        grads.append([weight.grad.clone() for weight in model.parameters()])
    for whole, parts in zip(*grads, strict=True):
        torch.testing.assert_close(whole, parts, rtol=1e-4, atol=1e-6)


def test_all_passes_compute_in_the_precision_of_a_run(model, task, monkeypatch):
    training = replace(task.training, precision="bf16")
    inside = []
    for layer in model.network.modules():
        layer.register_forward_hook(lambda *given: inside.append(torch.is_autocast_enabled("cpu")))
    score_gradient(model, encoded_items(task, max_length=64)[1], training=training)
    loss_gradient(model, torch.arange(32).view(2, 16) % 20, training=training)
    assert inside and all(inside)
    assert all(weight.grad.dtype == torch.float32 for weight in model.parameters() if weight.grad is not None)


def test_text_of_each_field_helps_the_objective_in_its_letters(model, task):
    budget = GradientBudget(batches=2, samples=4, items=None, tokens=0)
    lines = []
    products, gram = gradient_products(model, task, budget, progress=lines.append)
    space = DomainSpace.of_dataset(task.manifest)
    source, target = (space.active_N & side for side in (~space.target_N, space.target_N))
    effect, _ = gradient_effects(products, gram, space.natural_N, rate_sum=1e-5)
    assert effect[source, 0].min() > 0 > effect[target, 0].max()
    assert effect[target, 1].min() > 0 > effect[source, 1].max()
    # of a long run a few samples tell fields apart, and not the domains of a field, which are alike here
    effect, _ = gradient_effects(products, gram, space.natural_N, rate_sum=0.01)
    of_source, of_target = (np.where(side, space.natural_N, 0.0) @ effect for side in (source, target))
    assert of_source[0] > 0 > of_target[0] and of_target[1] > 0 > of_source[1]
    assert any("objective target" in line for line in lines)


def test_a_sketch_keeps_inner_products():
    generator = torch.Generator().manual_seed(1)
    first, other = (
        [torch.randn(300, 40, generator=generator), torch.randn(7, generator=generator)] for _ in range(2)
    )
    other = [a + 0.5 * b for a, b in zip(other, first, strict=True)]
    scale = [torch.rand(a.shape, generator=generator) for a in first]
    wanted = sum(float((a * p * b).sum()) for a, p, b in zip(first, scale, other, strict=True))
    exact = Sketch(scale)
    assert exact.size == 12_007 and float(exact(first) @ exact(other)) == pytest.approx(wanted, rel=1e-4)
    folded = Sketch(scale, most=997)
    lengths = float(exact(first).norm() * exact(other).norm())
    assert len(folded(first)) == 997
    # one standard error is about the product of the lengths over the root of 997
    assert abs(float(folded(first) @ folded(other)) - wanted) < 4 * lengths / 997**0.5


def test_a_metric_never_blows_up_weights_that_the_text_before_the_run_left_in_peace(model, task, tmp_path):
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    state = {i: {"exp_avg_sq": torch.full_like(weight, 1e-30)} for i, weight in enumerate(weights)}
    torch.save({"state": state}, tmp_path / "optimizer.pt")
    budget = GradientBudget(batches=2, samples=4, items=None, tokens=0)
    moments = load_moments(tmp_path / "optimizer.pt")
    quiet, _ = gradient_products(model, task, budget, moments=moments, progress=str)
    plain, _ = gradient_products(model, task, budget, progress=str)
    assert quiet == pytest.approx(plain, rel=1e-3)
    with pytest.raises(InputError, match="of 1 weight,"):
        gradient_products(model, task, budget, moments=moments[:1], progress=str)


def test_a_model_keeps_its_mode_and_its_weights(model, task):
    budget = GradientBudget(batches=2, samples=4, items=None, tokens=0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    gradient_products(model.train(), task, budget, progress=str)
    assert model.training and torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())


def test_rates_of_a_run_are_summed_over_its_schedule():
    flat = TrainingSettings(batch_size=8, learning_rate=0.1, warmup=0.0, schedule="constant")
    assert rate_sum(80, flat) == pytest.approx(1.0)
    warm = TrainingSettings(batch_size=8, learning_rate=0.1, warmup=0.2, schedule="constant")
    # of ten updates the first two are at 1/2 and 2/2
    assert rate_sum(80, warm) == pytest.approx(0.95)
