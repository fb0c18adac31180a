"""Low-rank adapters: the loop trains them alone, resumes, saves them in peft's form, or merges them."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig

from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.estimate.memory import memory_per_rank
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.lora import add_adapters, merge_adapters
from dmix.training.model.models import load_model, load_network
from dmix.training.model.settings import LoraSettings, ProxySettings, TrainingSettings, load_training
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.resuming.checkpoint_files import checkpoints
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import InputError, MissingDependencyError, NotFoundError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

LORA = LoraSettings(rank=2, alpha=4, targets=("q_proj", "down_proj"))
SIZES = {
    "vocab_size": 257,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lora") / "checkpoint"
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def job(tiny_warehouse, checkpoint, environment, tmp_path):
    return TrainingJob(
        run_id="adapted",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=checkpoint,
        controller=natural(),
        plan=PlanSettings(step_samples=16, batch_size=8),
        steps=3,
        training=TrainingSettings(batch_size=8, learning_rate=1e-2, warmup=0.0, lora=LORA),
        environment=environment,
        result=tmp_path / "result",
    )


def logits(network):
    return network.eval()(input_ids=torch.arange(1, 9)[None]).logits


def with_lora(job, **values):
    lora = dataclasses.replace(LORA, **values)
    return dataclasses.replace(job, training=dataclasses.replace(job.training, lora=lora))


def test_adapters_are_trained_alone_and_saved_in_pefts_form(job, checkpoint, tmp_path):
    from peft import PeftModel

    summary = train(job, folder=tmp_path / "run")
    assert summary.feedback_TD[-1].mean() > summary.feedback_TD[0].mean()
    names = {path.name for path in job.result.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "config.json", "tokenizer.json"} <= names
    assert "model.safetensors" not in names
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(checkpoint), job.result)
    assert (logits(adapted) - logits(base)).abs().max() > 1e-3
    plain = AutoModelForCausalLM.from_pretrained(job.result)  # transformers finds the checkpoint itself
    torch.testing.assert_close(logits(plain), logits(adapted))
    torch.testing.assert_close(logits(load_network(str(job.result))), logits(adapted), atol=1e-5, rtol=1e-4)
    for name, weight in base.state_dict().items():
        if "q_proj" not in name and "down_proj" not in name:
            assert torch.equal(weight, plain.state_dict()[name])


def test_a_run_with_adapters_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(job, tmp_path):
    whole = train(job, folder=tmp_path / "whole")
    cut = tmp_path / "cut"
    train(dataclasses.replace(job, steps=3), folder=cut)
    newest = checkpoints(cut / "checkpoints")[-1]
    newest.unlink()
    (cut / "events.jsonl").write_text(
        "".join(
            line
            for line in (cut / "events.jsonl").read_text().splitlines(keepends=True)
            if '"step":3' not in line.replace(" ", "") and "run_done" not in line
        )
    )
    resumed = train(job, folder=cut, resume=True)
    np.testing.assert_allclose(resumed.feedback_TD, whole.feedback_TD)


def test_adapters_are_merged_on_request(job, checkpoint, tmp_path):
    merged = with_lora(job, merge=True)
    train(merged, folder=tmp_path / "run")
    names = {path.name for path in job.result.iterdir()}
    assert "model.safetensors" in names and "adapter_config.json" not in names
    plain = AutoModelForCausalLM.from_pretrained(job.result)
    assert not any("lora" in name for name in plain.state_dict())
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    assert (logits(plain) - logits(base)).abs().max() > 1e-3


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_new_adapters_change_nothing_and_merged_ones_compute_the_same(architecture):
    from transformers import CONFIG_MAPPING

    torch.manual_seed(0)
    sizes = SIZES if architecture == "llama" else {"vocab_size": 257, "n_embd": 32, "n_head": 2, "n_layer": 2}
    network = AutoModelForCausalLM.from_config(CONFIG_MAPPING[architecture](**sizes))
    before = logits(network)
    add_adapters(network, LoraSettings(rank=2), seed=0)
    torch.testing.assert_close(logits(network), before)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) / 10)
    adapted = logits(network)
    merge_adapters(network)
    torch.testing.assert_close(logits(network), adapted, atol=1e-5, rtol=1e-4)
    assert not any("lora" in name for name in network.state_dict())


def test_the_memory_of_adapters_is_theirs_alone(checkpoint, tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    model = load_model(checkpoint, manifest, lora=LORA)
    # two layers: q_proj 32 -> 32 and down_proj 64 -> 32, of rank 2
    trained = 2 * (2 * (32 + 32) + 2 * (64 + 32))
    assert sum(w.numel() for w in model.parameters() if w.requires_grad) == trained
    shape = shape_of(checkpoint, manifest, lora=LORA)
    assert (shape.trained_parameters, shape.parameters) == (trained, model.parameters_count)
    found = memory_per_rank(shape, TrainingSettings(lora=LORA), ranks=1, seq_len=16, bf16=False)
    assert (found.gradients, found.optimizer) == (4 * trained, 8 * trained)
    assert found.weights == 4 * model.parameters_count


@pytest.mark.parametrize("target", ["query", "lm_head", "embed_tokens"])
def test_a_target_that_cannot_have_adapters_is_named(target, checkpoint, tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    with pytest.raises(InputError, match=f"'{target}'.* known ones: down_proj, gate_proj"):
        load_model(checkpoint, manifest, lora=LoraSettings(targets=(target,)))


def test_adapters_of_a_model_that_is_not_kept_are_refused(tiny_model, job, tmp_path, tiny_warehouse):
    manifest = read_dataset_manifest(tiny_warehouse)
    with pytest.raises(InputError, match=r"random weights.* merge: true"):
        load_model(tiny_model, manifest, lora=LORA)
    assert load_model(tiny_model, manifest, lora=dataclasses.replace(LORA, merge=True))
    train(job, folder=tmp_path / "run")
    with pytest.raises(InputError, match=r"contains adapters.* merge: true"):
        load_model(str(job.result), manifest, lora=LORA)
    config = job.result / "adapter_config.json"
    config.write_text(config.read_text().replace(job.model, "/nowhere/at-all"))
    with pytest.raises(NotFoundError, match="checkpoint /nowhere/at-all"):
        load_network(str(job.result))


def test_settings_of_adapters_are_read_and_checked(tmp_path, monkeypatch):
    path = tmp_path / "training.yaml"
    path.write_text("lora: {rank: 4, alpha: 8, targets: [q_proj]}")
    assert load_training(path).lora == LoraSettings(rank=4, alpha=8, targets=("q_proj",))
    with pytest.raises(InputError, match="rank is 0"):
        LoraSettings(rank=0)
    with pytest.raises(InputError, match="targets is empty"):
        LoraSettings(targets=())
    with pytest.raises(InputError, match="does not work with sharding: full"):
        TrainingSettings(lora=LORA, sharding="full")
    with pytest.raises(InputError, match="leave lora out of the proxy file"):
        ProxySettings(training=TrainingSettings(lora=LORA))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="package peft"):
        add_adapters(AutoModelForCausalLM.from_config(LlamaConfig(**SIZES)), LORA, seed=0)


def test_two_ranks_train_one_set_of_adapters_and_resume_alone(job, on_real_ranks, tmp_path):
    alone = train(job, folder=tmp_path / "alone").feedback_TD
    weights = load_file(job.result / "adapter_model.safetensors")
    two = dataclasses.replace(job, result=tmp_path / "two-result")
    on_real_ranks(2, lambda: train(two, folder=tmp_path / "two").steps)
    found = load_file(two.result / "adapter_model.safetensors")
    assert set(found) == set(weights)
    for name, weight in weights.items():
        torch.testing.assert_close(found[name], weight, atol=2e-4, rtol=1e-2)
    # the last step is trained again by one rank, from the adapters of two
    max(checkpoints(tmp_path / "two" / "checkpoints"), key=lambda path: path.stat().st_mtime).unlink()
    lines = (tmp_path / "two" / "events.jsonl").read_text().splitlines(keepends=True)
    done = [index for index, line in enumerate(lines) if '"event":"step_done"' in line.replace(" ", "")]
    (tmp_path / "two" / "events.jsonl").write_text("".join(lines[: done[1] + 2]))
    resumed = train(dataclasses.replace(two, result=tmp_path / "again"), folder=tmp_path / "two", resume=True)
    np.testing.assert_allclose(resumed.feedback_TD, alone, atol=1e-3)


@pytest.mark.parametrize(("base", "said"), [("itself", "has adapters itself"), (["x"], "do not name their")])
def test_adapters_that_name_no_checkpoint_are_refused(tmp_path, base, said):
    name = str(tmp_path) if base == "itself" else base
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": name})
    )
    with pytest.raises(InputError, match=said):
        load_network(str(tmp_path))
