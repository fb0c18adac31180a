"""The pass by `hidden_states` against that of transformers, on the same weights."""

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.llama.hidden import hidden_states, is_plain_llama

SHAPE = {
    "vocab_size": 50,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
CONFIGS = {
    "plain": {},
    "grouped": {"num_key_value_heads": 2},
    "wide heads": {"head_dim": 16},
    "scaled positions": {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
    "tied": {"tie_word_embeddings": True},
}


def make_network(**settings):
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(LlamaConfig(**{**SHAPE, **settings}))
    with torch.no_grad():
        for weight in network.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return network


def gradients(network, states):
    network.zero_grad()
    torch.manual_seed(1)
    (states * torch.randn_like(states)).sum().backward()
    return {
        name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_states_and_gradients_are_those_of_transformers(name):
    network = make_network(**CONFIGS[name])
    trunk, ids = network.base_model, torch.randint(50, (3, 20))
    expected = trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    found = hidden_states(trunk, ids)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    expected_grads, found_grads = gradients(network, expected), gradients(network, found)
    assert set(found_grads) == set(expected_grads)
    for weight, expected_grad in expected_grads.items():
        error = (found_grads[weight] - expected_grad).abs().max() / expected_grad.abs().max()
        assert error < 1e-5, weight


def test_more_tokens_than_a_part_of_the_feed_forward_layer():
    trunk = make_network().base_model
    ids = torch.randint(50, (5, 130))
    expected = trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
    torch.testing.assert_close(hidden_states(trunk, ids), expected, rtol=1e-5, atol=1e-5)


def test_a_plain_llama_is_taken_and_everything_else_is_left_to_transformers():
    assert is_plain_llama(make_network().base_model)
    others = {
        "eager attention": make_network(attn_implementation="eager"),
        "biases": make_network(attention_bias=True),
        "another activation": make_network(hidden_act="gelu"),
        "dropout": make_network(attention_dropout=0.1),
        "another number type": make_network().to(torch.float64),
        "another family": AutoModelForCausalLM.from_config(MistralConfig(**SHAPE, num_key_value_heads=4)),
    }
    adapted = make_network()
    adapted.model.layers[0].mlp.down_proj = torch.nn.Sequential(adapted.model.layers[0].mlp.down_proj)
    hooked = make_network()
    hooked.model.layers[0].register_forward_hook(lambda *arguments: None)
    recomputed = make_network()
    recomputed.gradient_checkpointing_enable()
    others |= {"adapters": adapted, "hooks": hooked, "checkpointing": recomputed}
    assert [name for name, network in others.items() if is_plain_llama(network.base_model)] == []
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_plain_llama(make_network().base_model)


def test_frozen_weights_get_no_gradient_and_the_others_theirs():
    network = make_network()
    trunk, ids = network.base_model, torch.randint(50, (2, 9))
    for name, weight in network.named_parameters():
        weight.requires_grad_("layers.1.mlp" in name)
    expected = gradients(network, trunk(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state)
    found = gradients(network, hidden_states(trunk, ids))
    assert (
        set(found) == set(expected) == {f"model.layers.1.mlp.{n}_proj.weight" for n in ("gate", "up", "down")}
    )
    for name in found:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-4, atol=1e-5)


def test_a_model_that_keeps_documents_apart_goes_through_transformers(monkeypatch):
    def fail(*arguments):
        raise AssertionError("documents are not kept apart there")

    monkeypatch.setattr("dmix.training.model.language_model.hidden_states", fail)
    ids = torch.randint(50, (2, 9))
    LanguageModel(make_network(), reset_at=0)({"input_ids": ids})
    with pytest.raises(AssertionError, match="kept apart"):
        LanguageModel(make_network())({"input_ids": ids})
