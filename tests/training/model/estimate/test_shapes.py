"""Shapes by arithmetic are those of the models that transformers builds; what is unusual is built."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from dmix.training.model.estimate import shapes
from dmix.training.model.estimate.shapes import _built_shape, holds_weights, shape_of
from dmix.training.model.settings import ModelSettings
from dmix.warehouse_schema.errors import InputError

WIDE = {"hidden_size": 32, "intermediate_size": 72, "num_hidden_layers": 3, "num_attention_heads": 4}
GROUPED = {"num_key_value_heads": 2}
MODELS = [
    ("llama", {}),
    ("llama", WIDE),
    ("llama", WIDE | GROUPED | {"tie_word_embeddings": True, "vocab_size": 400, "rope_theta": 1e5}),
    ("llama", WIDE | GROUPED | {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    ("gpt_neox", {}),
    ("gpt_neox", WIDE | {"tie_word_embeddings": True, "attention_bias": False}),
]
CHECKPOINTS = [
    ("llama", WIDE | GROUPED | {"tie_word_embeddings": True}),
    ("mistral", WIDE | GROUPED),
    ("qwen2", WIDE | GROUPED | {"tie_word_embeddings": True}),
    ("qwen3", WIDE | GROUPED | {"head_dim": 16}),
    ("gpt_neox", WIDE),
]
OTHER_WAY = [
    ("llama", WIDE | {"hidden_act": "tanh"}),
    ("gpt_neo", {"hidden_size": 16, "num_heads": 2, "num_layers": 2, "attention_types": [[["global"], 2]]}),
]
POSITIONS = {"vocab_size": 300, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 0}


@pytest.fixture
def manifest(make_manifest):
    return make_manifest([10, 10], seq_len=16)


@pytest.fixture
def building_fails(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("built by transformers")

    monkeypatch.setattr(shapes, "_built_shape", refuse)


def checkpoint(folder, family, config):
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**POSITIONS | config))
    network.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("architecture", "config"), MODELS)
def test_a_model_file_has_the_shape_of_the_model_it_describes(architecture, config, manifest, building_fails):
    model = ModelSettings(architecture=architecture, config=config)
    assert shape_of(model, manifest) == _built_shape(model, manifest, lora=None)


@pytest.mark.parametrize(("family", "config"), CHECKPOINTS)
def test_a_checkpoint_has_the_shape_that_its_configuration_says(
    family, config, manifest, tmp_path, building_fails
):
    folder = checkpoint(tmp_path / "m", family, config)
    shape = shape_of(str(folder), manifest)
    assert shape == _built_shape(str(folder), manifest, lora=None)
    assert holds_weights(folder, shape)


@pytest.mark.parametrize(("family", "config"), OTHER_WAY)
def test_what_is_not_certain_is_built(family, config, manifest, tmp_path, building_fails):
    folder = checkpoint(tmp_path / "m", family, config)
    with pytest.raises(AssertionError, match="built"):
        shape_of(str(folder), manifest)


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_sise": 32},
        {"hidden_size": 30},
        {"hidden_size": 32.0},
        {"num_attention_heads": 0},
        {"num_key_value_heads": 3},
        {"vocab_size": 1},
        {"max_position_embeddings": 8},
    ],
)
def test_a_model_file_that_cannot_work_is_refused(config, manifest):
    with pytest.raises(InputError):
        shape_of(ModelSettings(architecture="llama", config=WIDE | config), manifest)


def test_a_model_file_with_another_tokenizer_is_refused(manifest):
    with pytest.raises(InputError, match="other"):
        shape_of(ModelSettings(architecture="llama", config=WIDE, tokenizer="other"), manifest)


def test_a_checkpoint_with_too_few_ids_or_positions_is_refused(manifest, tmp_path):
    folder = checkpoint(tmp_path / "m", "llama", WIDE)
    with pytest.raises(InputError, match="context length of the model is 64"):
        shape_of(str(folder), replace(manifest, seq_len=65))
    (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"vocab_size": 3})
    )
    with pytest.raises(InputError, match="vocabulary of 3"):
        shape_of(str(folder), manifest)


@pytest.mark.parametrize(
    "change",
    [
        {"max_position_embeddings": "x"},
        {"max_position_embeddings": 10**30},
        {"vocab_size": "x"},
        {"vocab_size": None},
    ],
    ids=str,
)
def test_sizes_that_are_no_numbers_are_refused(change, manifest, tmp_path):
    folder = checkpoint(tmp_path / "m", "llama", WIDE)
    (folder / "config.json").write_text(json.dumps(json.loads((folder / "config.json").read_text()) | change))
    with pytest.raises(InputError, match=r"config\.json"):
        shape_of(str(folder), manifest)


def test_a_family_without_heads_has_a_shape(manifest, tmp_path):
    config = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 300, "state_size": 4}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "mamba", **config}))
    shape = shape_of(str(tmp_path), manifest)
    assert (shape.layers, shape.hidden, shape.vocabulary) == (2, 16, 300)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weights_that_lack_or_are_not_finite_are_not_held(dtype, manifest, tmp_path):
    folder = checkpoint(tmp_path / "m", "llama", WIDE)
    shape, path = shape_of(str(folder), manifest), folder / "model.safetensors"
    whole = {name: weight.to(dtype) for name, weight in load_file(path).items()}
    save_file(whole, path, metadata={"format": "pt"})
    assert holds_weights(folder, shape)
    save_file(whole | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, path)
    assert holds_weights(folder, shape)
    save_file({name: weight for name, weight in whole.items() if "norm" not in name}, path)
    assert not holds_weights(folder, shape)
    save_file({f"other.{name}": weight for name, weight in whole.items()}, path)
    assert not holds_weights(folder, shape)
    whole["model.norm.weight"][3] = float("inf")
    save_file(whole, path)
    assert not holds_weights(folder, shape)
    path.write_bytes(path.read_bytes()[:5])
    assert not holds_weights(folder, shape)


def test_operations_worked_by_hand():
    shape = shapes.ModelShape(
        parameters=1000,
        layer_parameters=100,
        layers=3,
        hidden=4,
        feed_forward=8,
        gated=True,
        vocabulary=10,
    )
    # 300 weights of layers, 40 of the output layer, and attention to half of 16 tokens, twice
    assert shape.operations_per_token(16) == 6 * (300 + 40 + 3 * 4 * 16)
