import json
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_tensors

from dmix.warehouse_schema.errors import InputError, NotFoundError, VerificationError
from dmix.warehouse_schema.files.weights import (
    check_depth,
    check_model_files,
    check_saved_model,
    damaged_weights,
    file_digest,
    first_unusable,
    readable,
    stored_weights,
)


@pytest.mark.parametrize("damage", [lambda c: c[:-3], lambda c: b"\xff" * 8 + c[8:], lambda c: b""])
def test_the_damaged_file_of_several_is_named(damage, tmp_path):
    for name in ("model-1.safetensors", "model-2.safetensors"):
        save_file({"a": np.ones(9)}, tmp_path / name)
    assert damaged_weights(tmp_path) == ""
    second = tmp_path / "model-2.safetensors"
    second.write_bytes(damage(second.read_bytes()))
    assert f"{second} is damaged" in damaged_weights(tmp_path)
    assert damaged_weights(tmp_path / "absent") == ""


@pytest.mark.parametrize(
    "error",
    [pickle.UnpicklingError("x"), RuntimeError("PytorchStreamReader\nmore"), EOFError(), KeyError("state")],
)
def test_what_a_library_raises_names_the_file_and_the_fix(error, tmp_path):
    with pytest.raises(InputError, match=r"optimizer\.pt cannot be read as moments .*; remove it"):
        with readable(tmp_path / "optimizer.pt", what="moments", fix="remove it"):
            raise error


@pytest.mark.parametrize("error", [MemoryError(), NotFoundError("gone")])
def test_memory_and_errors_of_our_own_stay_what_they_are(error, tmp_path):
    with pytest.raises(type(error)), readable(tmp_path, what="moments", fix="remove it"):
        raise error


def test_a_cut_file_of_torch_is_named(tmp_path):
    path = tmp_path / "optimizer.pt"
    torch.save({"state": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"optimizer\.pt cannot be read"):
        with readable(path, what="moments", fix="remove it"):
            torch.load(path, weights_only=True)


def test_values_are_counted_by_name_and_those_that_are_not_finite_are_found(tmp_path):
    assert (stored_weights(tmp_path), first_unusable(tmp_path)) == ({}, "")
    save_file({"a": np.ones((3, 4)), "b": np.ones(2, np.float16)}, tmp_path / "model-1.safetensors")
    save_file({"c": np.ones(5, np.int64), "d": np.float32([1, np.nan])}, tmp_path / "model-2.safetensors")
    assert stored_weights(tmp_path) == {"a": 12, "b": 2, "c": 5, "d": 2}
    assert first_unusable(tmp_path) == "d"
    (tmp_path / "model-1.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="model-1"):
        stored_weights(tmp_path)


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e38, -1.1e6, 65_504.0, -999_424.0])
def test_a_weight_that_no_model_has_is_found_in_each_number_type(tmp_path, kind, value):
    weight = torch.tensor([0.5, value, -3.0]).to(kind)
    save_tensors({"a": weight}, tmp_path / "model.safetensors")
    most = 65_504 if kind == torch.float16 else 1e6  # what is larger is infinite there
    assert first_unusable(tmp_path) == ("" if abs(value) <= most else "a")


def test_a_saved_model_is_compared_with_its_checksums(tmp_path):
    check_saved_model(tmp_path)  # one of others
    save_file({"a": np.ones(9)}, tmp_path / "model.safetensors")
    digest = file_digest(tmp_path / "model.safetensors")
    (tmp_path / "dmix.json").write_text(json.dumps({"files": {"model.safetensors": digest}}))
    check_saved_model(tmp_path)
    save_file({"a": np.zeros(9)}, tmp_path / "model.safetensors")
    with pytest.raises(VerificationError, match="damaged"):
        check_saved_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(VerificationError, match="missing"):
        check_saved_model(tmp_path)


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 200_000,
        b"[]",
        b'{"a": "x"}',
        b'{"a": {"shape": [4], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": ["F32"], "shape": [4], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "F32", "shape": "44", "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 1e99]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [8, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 99]}}',
        b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 7]}}',
        b'{"a": {"dtype": "F32", "shape": [' + b"9" * 10_000 + b'], "data_offsets": [0, 16]}}',
    ],
    ids=lambda header: str(header[:60]),
)
def test_a_header_made_by_hand_is_a_damaged_file(header, tmp_path):
    content = len(header).to_bytes(8, "little") + header + bytes(16)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model\.safetensors is not a safetensors file"):
        stored_weights(tmp_path)
        first_unusable(tmp_path)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", {"attn_implementation": "owner/kernel"}),
        ("config.json", {"text_config": {"_attn_implementation": "owner/kernel"}}),
        ("config.json", {"attn_implementation": {"": "eager", "text_config": "owner/kernel"}}),
        ("config.json", {"_attn_implementation_internal": ["owner/kernel"]}),
        ("model.safetensors.index.json", {"weight_map": {"a": "../model.safetensors"}}),
        ("pytorch_model.bin.index.json", {"weight_map": {"a": "/etc/passwd"}}),
        ("tokenizer_config.json", {"vocab_file": "/etc/passwd"}),
        ("tokenizer_config.json", {"tokenizer_file": "../tokenizer.json"}),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["x/../../tokenizer.4.0.0.json"]}),
        ("tokenizer_config.json", {"fast_tokenizer_files": "/tmp/tokenizer.4.0.0.json"}),
        ("config.json", {"transformers_weights": "../../other/model.safetensors"}),
        ("config.json", {"transformers_weights": 3}),
    ],
)
def test_a_model_folder_that_names_code_or_files_elsewhere_is_refused(file, content, tmp_path):
    (tmp_path / file).write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"{file} (names|contains) the"):
        check_model_files(tmp_path)


def test_a_usual_model_folder_is_taken(tmp_path):
    for file, content in (
        ("config.json", {"attn_implementation": "sdpa", "layers": [{"_attn_implementation": None}]}),
        ("model.safetensors.index.json", {"weight_map": {"a": "model-00001-of-00002.safetensors"}}),
        ("tokenizer_config.json", {"special_tokens_map_file": "/elsewhere/x", "vocab_file": "v.json"}),
    ):
        (tmp_path / file).write_text(json.dumps(content))
    check_model_files(tmp_path)
    check_model_files(tmp_path / "owner" / "name")


@pytest.mark.parametrize(
    "config",
    [
        {"num_hidden_layers": 10**7},
        {"n_layer": 1e9},
        {"n_layers": 10**30},
        {"decoder_layers": 10**7},
        {"text_config": {"num_hidden_layers": 10**7}},
        {"num_local_experts": 10**6},
        {"n_routed_experts": 10**6},
    ],
    ids=str,
)
def test_a_configuration_of_more_layers_than_any_model_has_is_refused(config, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="expected at most"):
        check_model_files(tmp_path)


def test_a_tokenizer_of_a_hundred_million_extra_ids_is_refused(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text('{"extra_ids": 100000000}')
    with pytest.raises(InputError, match="extra_ids"):
        check_model_files(tmp_path)


def test_usual_depths_are_taken():
    check_depth({"num_hidden_layers": 1000, "num_experts": 512, "layer_types": ["x"], 3: 4}, where="x")
    check_depth({"max_position_embeddings": 10**7, "num_layers": None, "n_layer": True}, where="x")


def test_a_model_folder_with_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "tokenizer.json")
    with pytest.raises(InputError, match="is a pipe"):
        check_model_files(tmp_path)
