"""Families that call things otherwise load, train, are planned and saved."""

import dataclasses

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from dmix.training.model.estimate.memory import memory_per_rank
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.families import feed_forward_of, key_value_heads_of, positions_of
from dmix.training.model.models import load_model
from dmix.training.model.saving import save_model, try_saving
from dmix.training.model.settings import TrainingSettings
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

SMALL = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0}
# family: fields of its configuration, positions, width of the feed-forward layers, heads of keys
FAMILIES = {
    "gpt2": ({"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 32}, 32, 64, 2),
    "bloom": ({"hidden_size": 16, "n_head": 2, "n_layer": 2}, None, 64, 2),
    "mpt": ({"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 32}, None, 64, 2),
    "opt": (
        {
            "hidden_size": 16,
            "ffn_dim": 48,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "max_position_embeddings": 32,
            "word_embed_proj_dim": 16,
        },
        32,
        48,
        2,
    ),
    "falcon": (
        {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "alibi": False},
        2048,
        64,
        1,
    ),
    "gpt_neo": (
        {
            "hidden_size": 16,
            "num_heads": 2,
            "num_layers": 2,
            "attention_types": [[["global", "local"], 1]],
            "max_position_embeddings": 32,
        },
        32,
        64,
        2,
    ),
}


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


def checkpoint(folder, family):
    config = CONFIG_MAPPING[family](**SMALL, **FAMILIES[family][0])
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_family_trains_is_planned_and_saved(family, manifest, tiny_warehouse, tmp_path):
    path = checkpoint(tmp_path / family, family)
    _, positions, feed_forward, key_value_heads = FAMILIES[family]
    model = load_model(path, manifest)
    assert positions_of(model.network.config) == positions
    assert feed_forward_of(model.network.config) == feed_forward
    assert key_value_heads_of(model.network.config) == key_value_heads
    assert model.max_length == (positions or 2048)
    loss = model({"input_ids": torch.randint(257, (2, manifest.seq_len))})["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    shape = shape_of(path, manifest)
    assert (shape.layers, shape.feed_forward) == (2, feed_forward)
    assert 0 < 2 * shape.layer_parameters < shape.parameters == model.parameters_count
    assert memory_per_rank(shape, TrainingSettings(), ranks=1, seq_len=16, bf16=False).total > 0
    streams = tiny_warehouse.stream("tiny")
    try_saving(model, tmp_path / "out", streams=streams, manifest=manifest)
    save_model(model, tmp_path / "out", streams=streams, manifest=manifest)
    assert load_model(str(tmp_path / "out"), manifest).parameters_count == model.parameters_count


def test_a_sample_longer_than_the_positions_is_refused_whatever_they_are_called(manifest, tmp_path):
    path = checkpoint(tmp_path / "m", "gpt2")
    with pytest.raises(InputError, match=r"is 32 tokens, but a sample has 40; .*--seq-len"):
        load_model(path, dataclasses.replace(manifest, seq_len=40))
