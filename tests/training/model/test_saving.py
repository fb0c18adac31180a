"""Models are saved whole; what would fail at the end is tried before, and damage is noticed."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from dmix.training.model.models import load_model
from dmix.training.model.saving import save_model, try_saving
from dmix.warehouse_schema.errors import InputError, VerificationError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


@pytest.fixture
def saved(tiny_model, manifest, tiny_warehouse, tmp_path):
    """Folder of a saved model."""
    model = load_model(tiny_model, manifest)
    save_model(model, tmp_path / "m", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    return tmp_path / "m"


def test_sampling_settings_without_do_sample_are_mended_before_training(
    saved, manifest, tiny_warehouse, tmp_path, caplog
):
    settings = saved / "generation_config.json"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "temperature": 0.9, "top_p": 0.6}))
    model = load_model(str(saved), manifest)
    try_saving(model, tmp_path / "out", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    assert "temperature, top_p without do_sample" in caplog.text
    assert not list(tmp_path.glob(".out.*"))
    save_model(model, tmp_path / "out", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    kept = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (kept["do_sample"], kept["temperature"], kept["top_p"]) == (True, 0.9, 0.6)


def test_settings_that_cannot_be_saved_are_refused_before_training(
    saved, manifest, tiny_warehouse, tmp_path, monkeypatch
):
    model = load_model(str(saved), manifest)

    def refuses(*_, **__):
        raise TypeError("set is not JSON serializable")

    monkeypatch.setattr(model.network, "save_pretrained", refuses)
    with pytest.raises(InputError, match=r"cannot save the trained model .TypeError: set is not JSON"):
        try_saving(model, tmp_path / "out", streams=tiny_warehouse.stream("tiny"), manifest=manifest)
    assert not list(tmp_path.glob(".out.*"))


@pytest.mark.parametrize("damage", ["byte", "missing"])
def test_a_damaged_model_of_ours_is_named(saved, manifest, damage):
    weights = saved / "model.safetensors"
    if damage == "byte":
        content = bytearray(weights.read_bytes())
        content[-5] ^= 1
        weights.write_bytes(content)
    else:
        weights.unlink()
    with pytest.raises(
        VerificationError, match=f"model.safetensors is {'damaged' if damage == 'byte' else 'mis'}"
    ):
        load_model(str(saved), manifest)


def test_a_model_whose_record_is_no_object_is_refused(saved, manifest):
    (saved / "dmix.json").write_text("[]")
    with pytest.raises(InputError, match=r"dmix\.json contains a list"):
        load_model(str(saved), manifest)


@pytest.mark.parametrize("kind", ["cut", "pointer"])
def test_weights_that_cannot_be_read_are_no_defect(saved, manifest, kind):
    (saved / "dmix.json").unlink()
    weights = saved / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: len(content) // 2] if kind == "cut" else b"version https://git-lfs")
    with pytest.raises(InputError, match=r"model\.safetensors is damaged"):
        load_model(str(saved), manifest)


def change_weights(folder, change):
    (folder / "dmix.json").unlink()
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_checkpoint_that_lacks_weights_is_refused(saved, manifest):
    change_weights(saved, lambda weights: weights.pop("model.layers.0.mlp.up_proj.weight"))
    with pytest.raises(InputError, match=r"no values for 1 weight.*mlp\.up_proj.*; restore"):
        load_model(str(saved), manifest)


def test_a_checkpoint_that_is_not_finite_is_refused(saved, manifest):
    change_weights(saved, lambda weights: weights["model.norm.weight"].fill_(torch.nan))
    with pytest.raises(InputError, match=r"not finite .*model\.norm"):
        load_model(str(saved), manifest)
