"""What is refused before a weight is read, and how much memory is thought to be needed."""

import json
import os

import pytest
import torch
from transformers import GPTNeoXConfig

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import (
    check_memory,
    fetched,
    load_network,
    memory_need,
    model_digest,
    source_model,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError

SETTINGS = GenerationSettings()


def without_weights(folder):
    (folder / "model.safetensors").unlink()
    return str(folder)


def test_start_and_end_are_the_end_of_text_where_bos_and_eos_are_one(writer):
    model = source_model(str(writer), SETTINGS)
    assert (model.start_id, model.end_id) == (0, 0)
    assert model.max_tokens == 63


def test_a_named_start_token_is_taken(writer):
    assert source_model(str(writer), GenerationSettings(start_token="court")).start_id == 16
    with pytest.raises(InputError, match=r"'quux' is not in the vocabulary.*--start-token"):
        source_model(str(writer), GenerationSettings(start_token="quux"))


def test_a_model_without_a_start_token_is_refused_before_its_weights_are_read(make_writer, tmp_path):
    folder = without_weights(make_writer(tmp_path / "none", specials=False))
    with pytest.raises(InputError, match=r"has no start token.*--start-token"):
        source_model(folder, SETTINGS)


@pytest.mark.parametrize("ids", [30, 80])
def test_a_tokenizer_of_another_model_is_refused(make_writer, tmp_path, ids):
    folder = make_writer(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "vocab_size": ids}))
    with pytest.raises(InputError, match=f"vocabulary of {ids} ids, its tokenizer 46.*do not belong"):
        source_model(without_weights(folder), SETTINGS)


def test_a_length_cap_beyond_the_positions_is_refused(writer):
    with pytest.raises(InputError, match=r"positions for 63 tokens.*--max-tokens 63"):
        source_model(str(writer), GenerationSettings(max_tokens=64))


@pytest.mark.parametrize("name", ["./nowhere", "nowhere", "/nowhere/at/all"])
def test_a_model_that_is_not_there_is_not_found(name):
    with pytest.raises(NotFoundError, match="does not exist; give the folder"):
        source_model(name, SETTINGS)


def test_a_folder_without_a_model_is_not_found(tmp_path):
    with pytest.raises(NotFoundError, match="gives no configuration"):
        source_model(str(tmp_path), SETTINGS)


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


def test_damaged_weights_are_named(make_writer, tmp_path):
    folder = make_writer(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"cannot be loaded .*download the model again"):
        load_network(folder, SETTINGS, device="cpu")


def test_the_digest_of_a_model_changes_with_a_byte_of_its_weights(make_writer, tmp_path):
    one, other = make_writer(tmp_path / "a"), make_writer(tmp_path / "b")
    assert model_digest(one) == model_digest(other)
    with open(other / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x7f")
    assert model_digest(one) != model_digest(other)


def test_a_folder_is_its_own_download(writer):
    assert fetched(source_model(str(writer), SETTINGS)) == writer


def test_precision_halves_the_weights(writer):
    model = source_model(str(writer), SETTINGS)
    half = memory_need(model, GenerationSettings(precision="bf16"))
    assert 2 * half.weights == memory_need(model, GenerationSettings(precision="fp32")).weights
    network = load_network(writer, GenerationSettings(precision="bf16"), device="cpu")
    assert next(network.parameters()).dtype == torch.bfloat16
