"""A stack is moved as Composer's optimiser moves each of its models."""

import numpy as np
import pytest
import torch
from composer.optim import DecoupledAdamW
from transformers import AutoModelForCausalLM, LlamaConfig

from dmix.training.farm.stacked.adamw import StackedAdamW, clip_gradients
from dmix.training.model.language_model import LanguageModel
from dmix.training.model.model_stack import ModelStack, stacked_parameters
from dmix.training.model.settings import TrainingSettings

SETTINGS = TrainingSettings(betas=(0.8, 0.95), epsilon=1e-6, weight_decay=0.02)
RATES = np.array([1e-2, 3e-2])
FACTORS = [1.0, 0.5, 0.1]


@pytest.fixture
def make_model():
    def make():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=20, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
        )
        return LanguageModel(AutoModelForCausalLM.from_config(config))

    return make


def gradients(stack, *, seed):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(weight.shape, generator=generator) for name, weight in stack.weights.items()}


def steps_of_one(model, optimizer, stack, *, place):
    """Composer's optimiser along the gradients of one place of the stack."""
    [group] = optimizer.param_groups
    for step, factor in enumerate(FACTORS):
        group["lr"] = RATES[place] * factor
        for name, weight in stacked_parameters(model).items():
            weight.grad = gradients(stack, seed=step)[name][place].clone()
        optimizer.step()


def make_optimizer(model, *, rate):
    return DecoupledAdamW(
        model.parameters(),
        lr=rate,
        betas=SETTINGS.betas,
        eps=SETTINGS.epsilon,
        weight_decay=SETTINGS.weight_decay,
    )


@pytest.mark.parametrize("warm", [False, True])
def test_updates_are_those_of_each_model_with_its_own_rate(make_model, warm):
    def started():
        """A model and its optimiser, with moments or without."""
        model = make_model()
        optimizer = make_optimizer(model, rate=1e-2)
        if warm:
            model({"input_ids": torch.arange(8).view(2, 4)})["loss"].backward()
            optimizer.step()
        return model, optimizer

    model, optimizer = started()
    adamw = StackedAdamW.of_copies(model, 2, optimizer=optimizer, settings=SETTINGS)
    stack = ModelStack.of_copies(model, 2)
    for step, factor in enumerate(FACTORS):
        for name, gradient in gradients(stack, seed=step).items():
            stack.weights[name].grad = gradient
        adamw.update(stack, peaks_P=RATES, factors_P=np.array([factor, factor]))
    for place in range(2):
        model, optimizer = started()
        one = make_optimizer(model, rate=RATES[place])
        one.load_state_dict(
            {"state": optimizer.state_dict()["state"], "param_groups": one.state_dict()["param_groups"]}
        )
        steps_of_one(model, one, stack, place=place)
        for name, weight in stacked_parameters(model).items():
            torch.testing.assert_close(stack.weights[name][place], weight, rtol=1e-6, atol=1e-7)


def test_a_part_of_the_optimiser_keeps_its_moments_and_its_count(make_model):
    model = make_model()
    adamw = StackedAdamW.of_copies(model, 3, optimizer=make_optimizer(model, rate=1e-2), settings=SETTINGS)
    stack = ModelStack.of_copies(model, 3)
    for name, gradient in gradients(stack, seed=0).items():
        stack.weights[name].grad = gradient
    adamw.update(stack, peaks_P=np.full(3, 1e-2), factors_P=np.ones(3))
    part = adamw.subset([2, 0])
    assert part.step == 1
    torch.testing.assert_close(part.means["output"], adamw.means["output"][[2, 0]])
    torch.testing.assert_close(part.squares["output"], adamw.squares["output"][[2, 0]])


def test_each_model_is_clipped_by_its_own_norm(make_model):
    stack = ModelStack.of_copies(make_model(), 3)
    scale = torch.tensor([1e-4, 1.0, 100.0])  # the first stays below the limit
    expected = []
    for name, gradient in gradients(stack, seed=0).items():
        stack.weights[name].grad = gradient * scale.view(-1, *[1] * (gradient.dim() - 1))
    for place in range(3):
        weights = [torch.nn.Parameter(weight[place].detach().clone()) for weight in stack.weights.values()]
        for one, weight in zip(weights, stack.weights.values(), strict=True):
            one.grad = weight.grad[place].clone()
        torch.nn.utils.clip_grad_norm_(weights, max_norm=0.5)
        expected.append([weight.grad for weight in weights])
    clip_gradients(stack, largest=0.5)
    for place in range(3):
        for weight, wanted in zip(stack.weights.values(), expected[place], strict=True):
            torch.testing.assert_close(weight.grad[place], wanted, rtol=1e-5, atol=1e-9)
