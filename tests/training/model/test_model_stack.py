"""One pass of a stack is the pass of each of its models."""

import copy

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
)

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.model_stack import ModelStack, check_stackable, stacked_parameters
from dmix.warehouse_schema.errors import InputError

COPIES, ROWS, LENGTH, VOCABULARY = 3, 4, 16, 90
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
CONFIGS = {
    "llama": LlamaConfig(**SHAPE),
    "tied": LlamaConfig(**SHAPE, tie_word_embeddings=True),
    "sliding": MistralConfig(**SHAPE, sliding_window=5),
    "qwen2": Qwen2Config(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE, head_dim=8),
}


def make_model(config):
    torch.manual_seed(0)
    # a copy, since a network writes the name of its attention there
    return LanguageModel(AutoModelForCausalLM.from_config(copy.deepcopy(config)))


def make_stack(config):
    """A stack whose models differ."""
    stack = ModelStack.of_copies(make_model(config), COPIES)
    torch.manual_seed(1)
    for weight in stack.weights.values():
        weight.data += 0.02 * torch.randn_like(weight)
    return stack


def alone(stack, place, config):
    """One model of a stack by itself, with the attention that it is made with."""
    model = make_model(config)
    for name, weight in stacked_parameters(model).items():
        weight.data.copy_(stack.weights[name][place])
    return model


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("bf16", [False, True])
def test_losses_and_gradients_are_those_of_each_model(name, bf16):
    stack = make_stack(CONFIGS[name])
    ids = torch.randint(VOCABULARY, (COPIES, ROWS, LENGTH))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses = stack.losses(ids)
    losses.sum().backward()
    tolerance = {"rtol": 2e-2, "atol": 2e-3} if bf16 else {"rtol": 1e-4, "atol": 1e-6}
    for place in range(COPIES):
        model = alone(stack, place, CONFIGS[name])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            expected = model({"input_ids": ids[place]})["loss"]
        expected.backward()
        torch.testing.assert_close(losses[place], expected, rtol=1e-3 if bf16 else 1e-6, atol=1e-6)
        for weight_name, weight in stacked_parameters(model).items():
            torch.testing.assert_close(stack.weights[weight_name].grad[place], weight.grad, **tolerance)


def test_losses_of_chosen_tokens_are_those_of_each_model_on_the_same_samples():
    stack = make_stack(CONFIGS["llama"])
    ids = torch.randint(VOCABULARY, (ROWS, LENGTH))
    rows, positions = torch.tensor([0, 0, 2, 3]), torch.tensor([1, 15, 7, 2])
    found = stack.losses_at(ids, rows, positions)
    assert found.shape == (COPIES, 4)
    for place in range(COPIES):
        expected = alone(stack, place, CONFIGS["llama"]).losses_at(ids, rows, positions)
        torch.testing.assert_close(found[place], expected, rtol=1e-6, atol=1e-6)


def test_tied_weights_are_trained_once():
    tied, untied = (make_stack(CONFIGS[name]).weights for name in ("tied", "llama"))
    assert set(untied) - set(tied) == {"output"}


def test_a_part_of_a_stack_is_a_copy():
    stack = make_stack(CONFIGS["llama"])
    part = stack.subset([2, 0])
    torch.testing.assert_close(part.weights["output"], stack.weights["output"][[2, 0]])
    part.weights["output"].data.zero_()
    assert stack.weights["output"].abs().min(1).values.max() > 0
    assert all(weight.is_leaf and weight.requires_grad for weight in part.weights.values())


def test_families_with_another_output_layer_and_dropout_are_refused():
    gpt2 = AutoModelForCausalLM.from_config(GPT2Config(vocab_size=9, n_embd=8, n_layer=1, n_head=2))
    with pytest.raises(InputError, match=r"family gpt2 at once; give --stack 1"):
        check_stackable(gpt2)
    drops = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPE, attention_dropout=0.1))
    with pytest.raises(InputError, match="several models with attention_dropout at once"):
        ModelStack.of_copies(LanguageModel(drops), 2)
