"""What a model starts from, as one hash: other weights or settings give another."""

import json
from dataclasses import replace

import pytest

from dmix.training.model.digests import model_digest
from dmix.training.model.settings import ADAPTER_CONFIG


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1")
    return folder


def test_settings_are_known_by_all_that_they_say(tiny_model):
    assert model_digest(tiny_model) == model_digest(replace(tiny_model))
    assert model_digest(tiny_model) != model_digest(replace(tiny_model, seed=9))


def test_a_name_of_the_hub_is_its_own_content():
    assert model_digest("org/one") != model_digest("org/two")


def test_a_model_file_is_its_bytes(tmp_path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("architecture: llama\n")
    first = model_digest(str(tmp_path / "a.yaml"))
    assert model_digest(str(tmp_path / "b.yaml")) == first
    (tmp_path / "b.yaml").write_text("architecture: gpt2\n")
    assert model_digest(str(tmp_path / "b.yaml")) != first


@pytest.mark.parametrize(
    ("name", "decides"),
    [("model.safetensors", True), ("config.json", True), ("tokenizer.json", False), ("README.md", False)],
)
def test_files_that_decide_scores_decide_the_hash(folder, name, decides):
    before = model_digest(str(folder))
    (folder / name).write_bytes(b"another content")
    assert (model_digest(str(folder)) != before) == decides


def test_the_checkpoint_below_adapters_counts(folder, tmp_path):
    pytest.importorskip("peft")
    adapters = tmp_path / "adapters"
    adapters.mkdir()
    (adapters / ADAPTER_CONFIG).write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    (adapters / "adapter_model.safetensors").write_bytes(b"2")
    before = model_digest(str(adapters))
    (folder / "model.safetensors").write_bytes(b"3")
    assert model_digest(str(adapters)) != before
