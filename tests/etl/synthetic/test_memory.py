"""How much memory a model is thought to need, and how much there is."""

import json

import pytest
import torch
from transformers import GPTNeoXConfig

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.memory import check_memory, memory_need
from dmix.etl.synthetic.source_models import load_network, source_model
from dmix.warehouse_schema.errors import InputError

SETTINGS = GenerationSettings()


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return str(folder)


def test_memory_is_estimated_from_the_configuration_alone(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    settings = GenerationSettings(block_documents=8, max_tokens=10, precision="fp32")
    network = load_network(folder, settings, device="cpu")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    model = source_model(without_weights(folder), settings)
    need = memory_need(model, settings)
    assert need.weights == 4 * parameters
    assert need.read == 4 * (parameters - network.get_input_embeddings().weight.numel())
    # two layers, keys and values of width 16, 8 documents of 11 positions, 4 bytes
    assert need.cache == 2 * 2 * 16 * 8 * 11 * 4


def test_a_model_that_does_not_fit_is_refused_before_its_weights_are_read(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    config = GPTNeoXConfig.from_pretrained(folder)
    config.hidden_size, config.num_hidden_layers, config.intermediate_size = 8192, 96, 32768
    config.save_pretrained(folder)
    model = source_model(without_weights(folder), SETTINGS)
    need = memory_need(model, SETTINGS)
    assert need.weights > 250e9
    with pytest.raises(InputError, match=r"needs about 3\d\d\.\d+ GB .*64.00 GB are free; choose a smaller"):
        check_memory(model, need, available=64 * 10**9)


def test_every_process_needs_its_own_copy(writer):
    model = source_model(str(writer), SETTINGS)
    need = memory_need(model, SETTINGS)
    check_memory(model, need, available=need.total)
    with pytest.raises(InputError, match=r"for each of 2 processes.*smaller --master"):
        check_memory(model, need, available=need.total, copies=2)


def test_precision_halves_the_weights(writer):
    model = source_model(str(writer), SETTINGS)
    half = memory_need(model, GenerationSettings(precision="bf16"))
    assert 2 * half.weights == memory_need(model, GenerationSettings(precision="fp32")).weights
    network = load_network(writer, GenerationSettings(precision="bf16"), device="cpu")
    assert next(network.parameters()).dtype == torch.bfloat16


def test_a_model_that_does_not_write_from_left_to_right_is_refused(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "vocab_size": config["vocab_size"]}))
    model = source_model(without_weights(folder), SETTINGS)
    with pytest.raises(InputError, match=r"\(t5\) is not a causal language model; choose one"):
        memory_need(model, SETTINGS)
