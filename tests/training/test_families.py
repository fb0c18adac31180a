"""Families of language models: each trains, resumes, is saved, and loads in plain transformers."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoTokenizer

from dmix.mixing.controllers.fixed import natural
from dmix.mixing.delivery.step_plan import PlanSettings
from dmix.training.model.estimate.memory import memory_per_rank
from dmix.training.model.estimate.shapes import shape_of
from dmix.training.model.models import load_model
from dmix.training.model.settings import TrainingSettings
from dmix.training.run.assembly.job import TrainingJob
from dmix.training.run.run import train
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

IDS = {"vocab_size": 300, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
SIZES = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 32,
}
HEADS = {"num_key_value_heads": 1, "head_dim": 8}
FAMILIES = {
    "gpt2": {"n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 32},
    "gpt_neox": SIZES,
    "llama": {**SIZES, **HEADS, "tie_word_embeddings": True},
    "mistral": {**SIZES, **HEADS, "sliding_window": 8},
    "qwen2": {**SIZES, "num_key_value_heads": 1, "tie_word_embeddings": True},
    "qwen3": {**SIZES, **HEADS},
    "gemma2": {**SIZES, **HEADS, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**SIZES, **HEADS, "sliding_window": 8, "query_pre_attn_scalar": 8},
    "phi3": {**SIZES, "num_key_value_heads": 1, "original_max_position_embeddings": 32},
    "opt": {
        "hidden_size": 16,
        "ffn_dim": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "max_position_embeddings": 32,
        "word_embed_proj_dim": 16,
        "dropout": 0.0,
    },
    "olmo2": {**SIZES, "num_key_value_heads": 1},
    "bloom": {"hidden_size": 16, "n_head": 2, "n_layer": 2},
    "mixtral": {**SIZES, **HEADS, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {
        **SIZES,
        **HEADS,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    },
}
# the others follow in `make soak`
IN_MAKE_TEST = {"gpt2", "gemma3_text", "mixtral"}


@pytest.fixture
def job(tiny_warehouse, environment, tmp_path):
    return TrainingJob(
        run_id="family",
        kind="baseline",
        streams=tiny_warehouse.stream("tiny"),
        manifest=read_dataset_manifest(tiny_warehouse),
        model=str(tmp_path / "checkpoint"),
        controller=natural(),
        plan=PlanSettings(step_samples=16, batch_size=8),
        steps=2,
        training=TrainingSettings(batch_size=8, learning_rate=1e-2, warmup=0.0, schedule="constant"),
        environment=environment,
        result=tmp_path / "result",
    )


def checkpoint(family, folder):
    """A model of the family with random weights; its regularisation is off, so that a run can be repeated."""
    config = CONFIG_MAPPING[family](**IDS, **FAMILIES[family])
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop", "attention_dropout", "hidden_dropout"):
        if hasattr(config, name):
            setattr(config, name, 0.0)
    torch.manual_seed(0)
    network = AutoModelForCausalLM.from_config(config)
    network.save_pretrained(folder)
    return network


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=() if name in IN_MAKE_TEST else pytest.mark.slow) for name in FAMILIES],
)
def test_a_family_trains_resumes_is_saved_and_loads_in_plain_transformers(family, job, tmp_path):
    first = checkpoint(family, job.model)
    ids = torch.arange(1, 13)[None]
    shape = shape_of(job.model, job.manifest)
    assert shape.parameters == sum(weight.numel() for weight in first.parameters())
    memory = memory_per_rank(shape, job.training, ranks=1, seq_len=16, bf16=False)
    assert memory.weights == 4 * shape.parameters < memory.total

    whole = train(job, folder=tmp_path / "whole")
    assert (whole.steps, whole.finished) == (2, True)
    assert whole.feedback_TD[-1].mean() > whole.feedback_TD[0].mean()
    plain = AutoModelForCausalLM.from_pretrained(job.result).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.result)
    assert tokenizer.eos_token == "<|endoftext|>"
    ours = load_model(str(job.result), job.manifest).network.eval()
    with torch.no_grad():
        torch.testing.assert_close(plain(ids).logits, ours(ids).logits)
    assert not torch.equal(plain(ids).logits, first.eval()(ids).logits)
    assert_padding_changes_no_score(load_model(str(job.result), job.manifest).eval(), ids)
    assert plain.generate(ids, max_new_tokens=2, do_sample=False, pad_token_id=1).shape[0] == 1

    shutil.rmtree(job.result)
    cut_off(tmp_path / "whole", tmp_path / "cut")
    resumed = train(job, folder=tmp_path / "cut", resume=True)
    np.testing.assert_allclose(resumed.feedback_TD, whole.feedback_TD, atol=1e-5)
    again = AutoModelForCausalLM.from_pretrained(job.result).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, plain(ids).logits, atol=1e-5, rtol=1e-4)


def assert_padding_changes_no_score(model, ids):
    """A row scores alike alone and beside a longer one, whichever id fills its end."""
    rows, places = torch.zeros(5, dtype=torch.int64), torch.arange(2, 7)
    alone = model.losses_at(ids[:, :7], rows, places)
    for filler in (0, IDS["pad_token_id"]):
        padded = torch.full((2, ids.shape[1]), filler)
        padded[0, :7], padded[1] = ids[0, :7], ids[0]
        torch.testing.assert_close(model.losses_at(padded, rows, places), alone, atol=1e-5, rtol=1e-5)


def cut_off(whole, cut):
    """Copies a run of two steps as it was after the first."""
    shutil.copytree(whole, cut)
    max((cut / "checkpoints").glob("*.pt"), key=lambda path: path.stat().st_mtime).unlink()
    lines = (cut / "events.jsonl").read_text().splitlines(keepends=True)
    second = [json.loads(line)["event"] for line in lines].index("step_done") + 2  # after its feedback
    (cut / "events.jsonl").write_text("".join(lines[:second]))


@pytest.mark.parametrize("family", ["t5", "bert"])
def test_what_is_no_causal_language_model_is_refused_in_a_sentence(family, job):
    from transformers import AutoModel

    small = {"t5": {"d_model": 16, "d_ff": 16, "d_kv": 8, "num_layers": 1, "num_heads": 2}, "bert": SIZES}
    config = CONFIG_MAPPING[family](vocab_size=300, **small[family])
    AutoModel.from_config(config).save_pretrained(job.model)
    with pytest.raises(InputError, match=f"{family}.*not a causal language model"):
        load_model(job.model, job.manifest)
    with pytest.raises(InputError, match=f"{family}.*not a causal language model"):
        shape_of(job.model, dataclasses.replace(job.manifest))
