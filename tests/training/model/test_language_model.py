"""Documents kept apart within a sample: the same numbers as documents run one by one."""

import dataclasses

import pytest
import torch

from dmix.training.model.language_model import LanguageModel
from dmix.training.model.models import load_model
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.manifests import read_dataset_manifest

EOT = 0
# a sample that begins and ends within documents, with a short and an empty one between
SAMPLE = [11, 12, 13, EOT, 21, 22, 23, 24, EOT, EOT, 41, 42, 43, 44, 45, 46]
DOCUMENTS = [SAMPLE[0:3], SAMPLE[3:8], SAMPLE[8:9], SAMPLE[9:16]]


@pytest.fixture
def manifest(tiny_warehouse):
    return read_dataset_manifest(tiny_warehouse)


@pytest.fixture(params=["llama", "gpt_neox"])
def settings(request, tiny_model):
    return dataclasses.replace(tiny_model, architecture=request.param)


def hidden(model, ids):
    """Last hidden states of one row under the view that training takes."""
    view = model.training_view(torch.tensor([ids]))
    return model.network.base_model(**view).last_hidden_state[0]


def test_a_packed_sample_gives_the_states_of_its_documents_run_one_by_one(settings, manifest):
    together = load_model(settings, manifest, reset_at_documents=True).eval()
    alone = load_model(settings, manifest).eval()
    expected = torch.cat([hidden(alone, document) for document in DOCUMENTS])
    torch.testing.assert_close(hidden(together, SAMPLE), expected, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(hidden(alone, SAMPLE), expected, atol=1e-3)


def test_end_of_text_is_predicted_from_its_document_and_no_token_leaves_the_loss(settings, manifest):
    model = load_model(settings, manifest, reset_at_documents=True).eval()
    states = torch.cat([hidden(load_model(settings, manifest).eval(), part) for part in DOCUMENTS])
    logits = model.network.get_output_embeddings()(states)[:-1]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(SAMPLE[1:]))
    found = model({"input_ids": torch.tensor([SAMPLE])})["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_pad_token_that_ends_texts_is_learnt_like_every_other_token(tiny_model, manifest):
    padded = dataclasses.replace(tiny_model, config={**tiny_model.config, "pad_token_id": EOT})
    gradients = []
    for settings in (tiny_model, padded):
        model = load_model(settings, manifest)
        model.load_state_dict(load_model(tiny_model, manifest).state_dict())
        model({"input_ids": torch.tensor([SAMPLE])})["loss"].backward()
        gradients.append(model.network.get_input_embeddings().weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0])
    assert gradients[1][EOT].abs().sum() > 0


def test_a_document_does_not_change_with_its_neighbours(settings, manifest):
    model = load_model(settings, manifest, reset_at_documents=True).eval()
    other = [99, 98, 97, *SAMPLE[3:9], EOT, 71, 72, 73, 74, 75, 76]
    torch.testing.assert_close(hidden(model, SAMPLE)[3:8], hidden(model, other)[3:8])


def test_gradients_flow_under_the_mask(settings, manifest):
    model = load_model(settings, manifest, reset_at_documents=True)
    model({"input_ids": torch.tensor([SAMPLE])})["loss"].backward()
    assert all(torch.isfinite(weight.grad).all() for weight in model.parameters())


def test_weights_that_are_sharded_are_used_through_the_whole_network(settings, manifest):
    whole, sharded = (
        load_model(settings, manifest).eval(),
        load_model(settings, manifest, sharded=True).eval(),
    )
    batch = {"input_ids": torch.tensor([SAMPLE, SAMPLE[::-1]])}
    torch.testing.assert_close(whole(batch), sharded(batch), rtol=1e-5, atol=1e-5)
    chosen = torch.tensor([0, 1]), torch.tensor([3, 15])
    torch.testing.assert_close(
        whole.losses_at(batch["input_ids"], *chosen), sharded.losses_at(batch["input_ids"], *chosen)
    )
    layer = sharded.network.base_model.layers[0]
    assert sharded.network.fsdp_wrap_fn(layer) and not sharded.network.fsdp_wrap_fn(sharded.network)


def test_a_network_whose_documents_cannot_be_kept_apart_is_refused(tiny_model, manifest):
    network = load_model(tiny_model, manifest).network
    network.set_attn_implementation("eager")
    with pytest.raises(InputError, match="this model is llama with eager; set reset_at_documents: false"):
        LanguageModel(network, reset_at=EOT)
