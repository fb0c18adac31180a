"""Blocks written by vLLM, with a stand-in for its engine."""

import sys
from types import SimpleNamespace

import pytest

from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.vllm_engine import document_seed, vllm_writer
from dmix.warehouse_schema.errors import MissingDependencyError

END = 0
MODEL = SimpleNamespace(
    start_id=9,
    end_id=END,
    max_tokens=4,
    tokenizer=SimpleNamespace(decode=lambda ids, **_: " ".join(map(str, ids))),
)


@pytest.fixture
def vllm(monkeypatch):
    """A module whose engine answers with these ids; what it was asked is kept."""
    module = SimpleNamespace(asked=[], answers=[[5, 6, END], [7, 8, 7, 8], []])

    class LLM:
        def __init__(self, **given):
            module.made = given

        def generate(self, prompts, sampling, *, use_tqdm):
            module.asked.append((prompts, sampling))
            return [SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids)]) for ids in module.answers]

    module.LLM, module.SamplingParams = LLM, SimpleNamespace
    monkeypatch.setitem(sys.modules, "vllm", module)
    return module


def test_documents_end_at_the_end_token_or_at_the_cap(vllm, tmp_path):
    write = vllm_writer(tmp_path, GenerationSettings(seed=2**31 + 5, precision="bf16"))
    assert (vllm.made["dtype"], vllm.made["seed"]) == ("bfloat16", 5)
    block = write(MODEL, [4, 5, 6], seed=1)
    assert [(d.index, d.text, d.tokens, d.ended) for d in block.documents] == [
        (4, "5 6", 2, True),
        (5, "7 8 7 8", 4, False),
        (6, "", 0, False),
    ]
    # a pass for each token, the end included
    assert (block.passes, block.rows) == (4, 3 + 4)


def test_every_document_has_a_seed_of_its_own(vllm, tmp_path):
    vllm_writer(tmp_path, GenerationSettings())(MODEL, [0, 1, 2], seed=3)
    ((prompts, sampling),) = vllm.asked
    assert prompts == [{"prompt_token_ids": [9]}] * 3
    assert [one.seed for one in sampling] == [document_seed(3, index) for index in range(3)]
    seeds = {document_seed(seed, index) for seed in (0, 1) for index in range(20)}
    assert len(seeds) == 40 and all(0 <= seed < 2**31 for seed in seeds)
    assert {(one.temperature, one.top_p, one.max_tokens) for one in sampling} == {(1.0, 1.0, 4)}


def test_vllm_that_is_not_there_is_named_with_another_engine(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingDependencyError, match="--engine transformers"):
        vllm_writer(tmp_path, GenerationSettings())
