import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from dmix.training.model.estimate.memory import (
    RunDisk,
    check_room,
    disk_of_run,
    fitting_microbatch,
    memory_per_rank,
)
from dmix.training.model.estimate.shapes import ModelShape, shape_of
from dmix.training.model.models import load_model
from dmix.training.model.settings import ModelSettings, TrainingSettings
from dmix.warehouse_schema.errors import InputError

SHAPE = ModelShape(
    parameters=1000,
    layer_parameters=400,
    layers=2,
    hidden=4,
    feed_forward=8,
    gated=True,
    vocabulary=10,
)
GROUPED = {"num_key_value_heads": 1}


def memory(*, ranks=1, bf16=False, **settings):
    training = TrainingSettings(**{"batch_size": 8, "microbatch_size": 2, **settings})
    return memory_per_rank(SHAPE, training, ranks=ranks, seq_len=16, bf16=bf16)


def test_memory_of_one_rank_worked_by_hand():
    found = memory()
    assert (found.weights, found.gradients, found.optimizer, found.gathered) == (4000, 4000, 8000, 0)
    # 32 tokens keep 10 * 4 + 4 * 8 = 72 numbers of four bytes in each of two layers
    assert found.activations == 32 * 72 * 4 * 2
    assert found.logits == 32 * 10 * (4 + 4 + 4)
    assert found.total == 4000 + 4000 + 8000 + 18432 + 3840


def test_memory_of_four_sharded_ranks_worked_by_hand():
    found = memory(ranks=4, bf16=True, sharding="full")
    assert (found.weights, found.gradients, found.optimizer) == (1000, 1000, 2000)
    assert found.gathered == (2 * 400 + 200) * 2  # two layers, and what is in none, in bf16
    # 4 * 4 numbers of norms in fp32, and 9 * 4 + 4 * 8 in bf16
    assert found.activations == 32 * (16 * 4 + 68 * 2) * 2
    assert found.logits == 32 * 10 * (2 + 4 + 4)
    assert memory(ranks=4, bf16=True, sharding="gradients").gathered == 2000


def test_checkpointing_keeps_inputs_of_layers_and_one_layer():
    found = memory(ranks=4, bf16=True, sharding="full", activation_checkpointing=True)
    assert found.activations == 2 * 32 * 4 * 2 + 32 * (16 * 4 + 68 * 2)


def test_whole_weights_need_a_chunk_of_logits_alone():
    training = TrainingSettings(batch_size=8)
    found = memory_per_rank(SHAPE, training, ranks=1, seq_len=4096, bf16=False)
    assert found.logits == 256 * 10 * 12


@pytest.mark.parametrize(
    ("settings", "checkpoints", "peak", "kept"),
    [
        # 1,000 weights: 4 kB, moments 8 kB; a third checkpoint is written before the first goes
        ({}, 2, 36_000, 24_000 + 12_000),
        ({"checkpoint_steps": 0}, 1, 24_000, 24_000),
        ({"checkpoint_steps": 3, "checkpoints_kept": 9}, 2, 36_000, 36_000),
        ({"keep": "model"}, 2, 36_000, 4_000),
        ({"keep": "model", "checkpoint_steps": 0}, 0, 4_000, 4_000),
        ({"sharding": "full", "checkpoint_steps": 0}, 1, 16_000, 16_000),
        ({"checkpoint_steps": 0, "checkpoint_batches": 10}, 2, 36_000, 36_000),
    ],
)
def test_disk_of_a_run_worked_by_hand(settings, checkpoints, peak, kept):
    found = disk_of_run(SHAPE, TrainingSettings(batch_size=8, **settings), steps=4, batches=20)
    assert (found.checkpoint, found.checkpoints, found.peak, found.kept) == (12_000, checkpoints, peak, kept)


@pytest.mark.parametrize(("microbatch", "ranks"), [(8, 1), (4, 1), (1, 1), (4, 2)])
def test_as_many_samples_as_fit_are_taken_at_a_time(microbatch, ranks):
    training = TrainingSettings(batch_size=8, microbatch_size="auto")
    needed = memory(microbatch_size=microbatch, ranks=ranks).total
    sizes = {"ranks": ranks, "seq_len": 16, "bf16": False}
    assert fitting_microbatch(SHAPE, training, **sizes, room=needed) == microbatch
    # a byte less: the half, and never less than one
    assert fitting_microbatch(SHAPE, training, **sizes, room=needed - 1) == max(1, microbatch // 2)


def test_a_batch_that_ranks_cannot_share_is_refused():
    with pytest.raises(InputError, match="batch_size is 8, which is not a multiple of the 3 ranks"):
        memory(ranks=3)


def bytes_kept(model):
    """Size of all tensors that torch keeps from a forward to a backward pass, weights aside."""
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address comes twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model({"input_ids": torch.zeros((16, 128), dtype=torch.long)})
    return sum(size for size, _ in kept.values())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(("architecture", "heads"), [("llama", {}), ("llama", GROUPED), ("gpt_neox", {})])
def test_activations_are_near_those_that_torch_keeps(make_manifest, monkeypatch, architecture, heads, bf16):
    config = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
    config |= heads
    settings = ModelSettings(architecture=architecture, config=config)
    manifest = make_manifest([10, 10], seq_len=128)
    model = load_model(settings, manifest)
    model.bf16_on_cpu = bf16
    fewer = bytes_kept(model)
    # the passes of transformers, which GPUs and other families take
    monkeypatch.setattr("dmix.training.model.language_model.is_plain_llama", lambda network: False)
    measured = bytes_kept(model)
    assert fewer == measured if bf16 or architecture != "llama" else fewer < 0.6 * measured
    shape = shape_of(settings, manifest)
    training = TrainingSettings(batch_size=16)
    told = memory_per_rank(shape, training, ranks=1, seq_len=128, bf16=bf16).activations
    assert told == pytest.approx(measured, rel=0.25 if bf16 else 0.1)
    assert shape.parameters == model.parameters_count


EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"


@pytest.mark.parametrize(
    ("name", "parameters", "most_gib"),
    # Llama 3.2's and Pythia's published numbers of weights
    [("llama-3b", 3_212_749_824, 40), ("pythia-1.4b", 1_414_647_808, 40)],
)
def test_large_examples_fit_their_gpus(make_manifest, name, parameters, most_gib):
    from dataclasses import replace

    from dmix.training.model.settings import load_training
    from dmix.warehouse_schema.settings import load_settings

    run = yaml.safe_load((EXAMPLES / name / "run.yaml").read_text())
    model = load_settings(ModelSettings, EXAMPLES / name / "model.yaml")
    training = load_training(EXAMPLES / name / "training.yaml")
    manifest = make_manifest([10, 10], seq_len=4096 if name == "llama-3b" else 2048)
    shape = shape_of(replace(model, tokenizer=None), manifest)
    assert shape.parameters == parameters
    found = memory_per_rank(shape, training, ranks=run["ranks"], seq_len=manifest.seq_len, bf16=True)
    assert found.total < most_gib * 2**30
    assert run["samples_per_step"] % training.batch_size == 0 and run["steps"] == 80


MB = 1_000_000
NEED = RunDisk(
    checkpoint=12 * MB, checkpoints=2, most_checkpoints=36 * MB, result=4 * MB, peak=36 * MB, kept=28 * MB
)


@pytest.fixture
def free(monkeypatch):
    """Says how much of the disk is free."""

    def say(size_bytes):
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=size_bytes))

    return say


def test_a_disk_with_just_enough_room_is_taken(tmp_path, free):
    free(36 * MB)
    check_room(NEED, checkpoints=tmp_path / "a/b", result=tmp_path / "a/model", what="run r")


def test_a_disk_without_room_is_refused_with_need_free_space_folder_and_fix(tmp_path, free):
    free(30 * MB)
    with pytest.raises(InputError) as refused:
        check_room(NEED, checkpoints=tmp_path / "a/b", result=tmp_path / "a/model", what="run r")
    for fact in ("run r", "36.0 MB", "30.0 MB", str(tmp_path), "checkpoints_kept", "keep: model"):
        assert fact in refused.value.message


def test_what_an_earlier_attempt_wrote_takes_no_further_room(tmp_path, free):
    free(30 * MB)
    with open(tmp_path / "step1-ba10.pt.aside", "wb") as file:
        file.truncate(12 * MB)
    check_room(NEED, checkpoints=tmp_path, result=tmp_path, what="run r")


def test_a_model_on_another_disk_needs_its_own_room_alone(tmp_path, monkeypatch):
    elsewhere = tmp_path / "other"
    elsewhere.mkdir()
    rooms = {tmp_path: 36 * MB, elsewhere: 3 * MB}
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=rooms[folder]))
    monkeypatch.setattr("dmix.training.model.estimate.memory._device", str)
    with pytest.raises(InputError, match=r"other has 3\.0 MB free"):
        check_room(NEED, checkpoints=tmp_path, result=elsewhere, what="run r")
