from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from dmix.training.model.models import load_model
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.assembly.result import OPTIMIZER_FILE
from dmix.training.run.assembly.trainer import make_optimizer
from dmix.training.run.base_model import base_config, train_base
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.progress import during, now

TRAINING = TrainingSettings(batch_size=8, learning_rate=1e-2)


@pytest.fixture
def configure(tiny_warehouse, tiny_model, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump({"architecture": "llama", "config": tiny_model.config}))

    def make(**values):
        values = {"tokens": 3000, "name": "small", "training": TRAINING, **values}
        return base_config(tiny_warehouse, model=str(path), **values)

    return make


def test_sizes_hold_the_tokens_asked_for(configure):
    # a batch is 8 * 16 = 128 tokens: 24 batches in 20 steps, two batches each
    config = configure()
    assert (config.steps, config.step_samples) == (20, 16)
    assert configure(tokens=1).steps == 1
    with pytest.raises(InputError, match="--tokens is 0"):
        configure(tokens=0)


def test_a_base_model_takes_source_text_alone_and_passes_over_it_again(configure, tiny_warehouse):
    lines = []
    with during(""):
        summary = train_base(tiny_warehouse, configure(), progress=lines.append)
        assert "batch" not in now(), "the note of its last batch outlives the run"
    # 320 samples of the 136 that the source has
    assert summary.samples_N[summary.target_N].sum() == 0 and summary.samples_N.sum() == 320
    assert summary.kind == "base" and summary.loss < 3.0
    folder = tiny_warehouse.model("small")
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 257
    assert train_base(tiny_warehouse, configure(), progress=lines.append).chain == summary.chain
    assert lines[-1] == "model small is finished; nothing to do"
    logged = replace(TRAINING, loggers=("wandb",))  # where metrics go makes no other model
    assert train_base(tiny_warehouse, configure(training=logged), progress=print).chain == summary.chain
    with pytest.raises(InputError, match=r"already exists .*\(steps: 20 before, 16 now\).*--name"):
        train_base(tiny_warehouse, configure(tokens=2000), progress=lines.append)


def test_the_state_of_the_optimiser_goes_on_under_new_settings(configure, tiny_warehouse):
    train_base(tiny_warehouse, configure(), progress=lambda _: None)
    folder = tiny_warehouse.model("small")
    model = load_model(str(folder), read_dataset_manifest(tiny_warehouse))
    settings = TrainingSettings(learning_rate=0.5, weight_decay=0.0)
    optimizer = make_optimizer(model, settings, folder / OPTIMIZER_FILE)
    saved = torch.load(folder / OPTIMIZER_FILE, weights_only=True)["state"]
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["initial_lr"] == 0.5
    moments = [optimizer.state[weight]["exp_avg"] for weight in model.parameters()]
    for index, moment in enumerate(moments):
        np.testing.assert_array_equal(moment, saved[index]["exp_avg"])
        assert moment.abs().max() > 0


def odd_states(saved):
    """What a file under the name of an optimiser's state may hold."""
    first = saved[0]
    for name in ("exp_avg", "exp_avg_sq"):
        yield f"{name} nan", {"state": saved | {0: first | {name: first[name] * float("nan")}}}
        yield f"{name} of another shape", {"state": saved | {0: first | {name: first[name][:1]}}}
        yield f"no {name}", {"state": saved | {0: {k: v for k, v in first.items() if k != name}}}
        yield f"{name} a number", {"state": saved | {0: first | {name: 3.0}}}
    yield "second moment of 1e38", {"state": saved | {0: first | {"exp_avg_sq": first["exp_avg_sq"] + 1e38}}}
    yield "negative second moment", {"state": saved | {0: first | {"exp_avg_sq": -first["exp_avg_sq"] - 1}}}
    yield "steps nan", {"state": saved | {0: first | {"step": torch.tensor(float("nan"))}}}
    yield "steps negative", {"state": saved | {0: first | {"step": torch.tensor(-5.0)}}}
    yield "no steps", {"state": saved | {0: {k: v for k, v in first.items() if k != "step"}}}
    yield "a weight too many", {"state": saved | {999: first}}
    yield "a list", [saved]
    yield "text", {"state": "none"}
    yield "empty", {}


def test_what_is_no_state_of_this_model_is_refused_with_the_name_of_the_file(
    configure, tiny_warehouse, tmp_path
):
    train_base(tiny_warehouse, configure(), progress=lambda _: None)
    folder = tiny_warehouse.model("small")
    model = load_model(str(folder), read_dataset_manifest(tiny_warehouse))
    saved = torch.load(folder / OPTIMIZER_FILE, weights_only=True)["state"]
    for name, content in odd_states(saved):
        torch.save(content, tmp_path / OPTIMIZER_FILE)
        with pytest.raises(InputError) as refusal:
            make_optimizer(model, TrainingSettings(learning_rate=0.5), tmp_path / OPTIMIZER_FILE)
        assert "optimizer.pt cannot be read as the state of an optimiser" in str(refusal.value), name
    whole = bytearray((folder / OPTIMIZER_FILE).read_bytes())
    whole[whole.index(saved[0]["exp_avg"].numpy().tobytes())] ^= 1  # torch reads such a number without a word
    (tmp_path / OPTIMIZER_FILE).write_bytes(whole)
    with pytest.raises(InputError, match=r"optimizer\.pt .*another checksum"):
        make_optimizer(model, TrainingSettings(learning_rate=0.5), tmp_path / OPTIMIZER_FILE)
