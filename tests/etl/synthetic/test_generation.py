"""Text from a model with a known law, and from one with random weights against a plain loop."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel

from dmix.etl.synthetic.generation import document_uniforms, draw_tokens, generate_block
from dmix.etl.synthetic.generation_settings import GenerationSettings
from dmix.etl.synthetic.source_models import load_network, source_model
from dmix.warehouse_schema.errors import InputError


def loaded(folder, **settings):
    chosen = GenerationSettings(**settings)
    return load_network(folder, chosen, device="cpu"), source_model(str(folder), chosen)


def plain_documents(network, model, indices, seed):
    """Every document by itself, without a cache: the whole text is read again for each token."""
    texts = []
    for index in indices:
        uniforms, ids = document_uniforms(seed, index, model.max_tokens), [model.start_id]
        for uniform in uniforms:
            with torch.inference_mode():
                logits = network(input_ids=torch.tensor([ids])).logits[0, -1].double().numpy()
            named = logits[: len(model.tokenizer)]
            cumulative = np.exp(named - named.max()).cumsum()
            ids.append(int(np.searchsorted(cumulative, uniform * cumulative[-1], side="right")))
            if ids[-1] == model.end_id:
                break
        texts.append(model.tokenizer.decode([i for i in ids[1:] if i != model.end_id]))
    return texts


def test_a_token_is_where_the_cumulative_probability_first_exceeds_the_random_number():
    logits = torch.tensor([[0.2, 0.3, 0.5]]).log().repeat(5, 1)
    uniforms = torch.tensor([0.0, 0.19, 0.21, 0.49, 0.51], dtype=torch.float64)
    assert draw_tokens(logits, uniforms).tolist() == [0, 0, 1, 1, 2]


def test_an_id_without_probability_is_never_drawn():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf]])
    for uniform in (0.0, 0.5, 1 - 2**-53):
        assert draw_tokens(logits, torch.tensor([uniform], dtype=torch.float64)).tolist() == [1]


def test_random_numbers_of_a_document_depend_on_seed_and_index_alone():
    assert document_uniforms(3, 7, 4).tolist() == document_uniforms(3, 7, 9)[:4].tolist()
    assert document_uniforms(3, 7, 4).tolist() != document_uniforms(3, 8, 4).tolist()
    assert document_uniforms(3, 7, 4).tolist() != document_uniforms(4, 7, 4).tolist()


def test_a_block_with_cache_and_shrinking_batch_says_what_a_plain_loop_says(make_writer, tmp_path):
    network, model = loaded(make_writer(tmp_path / "random", ends=None), max_tokens=8)
    block = generate_block(network, model, range(20, 44), seed=5)
    assert [document.text for document in block.documents] == plain_documents(
        network, model, range(20, 44), seed=5
    )
    assert len({document.tokens for document in block.documents}) > 2


def test_a_model_that_does_not_remember_what_it_has_written_is_refused(writer):
    _, model = loaded(writer, max_tokens=8)
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1, "intermediate_size": 16}
    network = BertLMHeadModel(BertConfig(vocab_size=model.config.vocab_size, **sizes)).eval()
    with pytest.raises(InputError, match="has no cache of keys and values"):
        generate_block(network, model, range(4), seed=0)


def test_text_follows_the_law_of_the_model(writer):
    network, model = loaded(writer, max_tokens=40)
    documents = generate_block(network, model, range(600), seed=1).documents
    # lengths are geometric, 0.9 / 0.1 words in the mean, cut at 40
    expected = sum(0.9**k for k in range(1, 41))
    lengths = np.array([document.tokens for document in documents])
    assert lengths.mean() == pytest.approx(expected, abs=4 * lengths.std() / 600**0.5)
    words = " ".join(document.text for document in documents).split()
    counts = np.unique(words, return_counts=True)[1]
    mean = len(words) / (model.config.vocab_size - 2)
    chi_squared = float(((counts - mean) ** 2 / mean).sum())
    # 43 degrees of freedom: 86 has a probability of 1e-4
    assert len(counts) == model.config.vocab_size - 2
    assert chi_squared < 86


def test_documents_end_by_the_model_or_by_the_cap(writer):
    network, model = loaded(writer, max_tokens=5)
    block = generate_block(network, model, range(64), seed=0)
    for document in block.documents:
        assert document.ended or document.tokens == 5
        assert len(document.text.split()) == document.tokens
    assert {document.ended for document in block.documents} == {True, False}
    assert block.tokens == sum(document.tokens for document in block.documents)


def test_finished_rows_leave_the_batch(make_writer, tmp_path):
    network, model = loaded(make_writer(tmp_path / "short", ends=0.5), max_tokens=30)
    block = generate_block(network, model, range(64), seed=0)
    # two passes a document in the mean; a batch that never shrank would take 64 rows in each
    assert block.rows < 64 * block.passes / 2
    assert block.passes < 30
