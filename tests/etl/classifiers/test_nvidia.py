"""On a small checkpoint of exactly the published form, randomly initialised, made without dmix code."""

import json
import random

import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from tests.etl.conftest import ENCODER
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from dmix.etl.classifiers.nvidia import (
    MAX_CHARACTERS,
    MAX_TOKENS,
    NvidiaClassifier,
    length_batches,
)
from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.warehouse_schema.errors import InputError, MissingDependencyError, NotFoundError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, NVIDIA_26, Taxonomy

WORDS = [f"w{i}" for i in range(60)]


class CustomModel(nn.Module, PyTorchModelHubMixin):
    """The published form: a linear layer on every position, of which the first is used."""

    def __init__(self, config):
        super().__init__()
        encoder = {name: value for name, value in config.items() if name in ENCODER and name != "model_type"}
        self.model = DebertaV2Model(DebertaV2Config(**encoder))
        self.dropout = nn.Dropout(config["fc_dropout"])
        self.fc = nn.Linear(self.model.config.hidden_size, len(config["id2label"]))

    def forward(self, input_ids, attention_mask):
        features = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return torch.softmax(self.fc(self.dropout(features))[:, 0, :], dim=1)


def write_checkpoint(folder, labels):
    """Saves a random model, its configuration and a tokenizer of whole words; returns the model."""
    torch.manual_seed(5)
    config = {
        "base_model": "microsoft/deberta-v3-base",
        "fc_dropout": 0.2,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        "label2id": {label: i for i, label in enumerate(labels)},
        **ENCODER,
    }
    model = CustomModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # large, so that labels differ between texts
            if "LayerNorm" not in name:
                parameter.normal_(0, 1.0)
    model.eval().save_pretrained(folder, config=config)
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return model


@pytest.fixture(scope="module")
def labels():
    """The 26 labels in an order that is not that of the taxonomy."""
    return random.Random(1).sample(NVIDIA_26, len(NVIDIA_26))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, labels):
    """(folder, model) of a small checkpoint."""
    folder = tmp_path_factory.mktemp("nvidia")
    return folder, write_checkpoint(folder, labels)


@pytest.fixture(scope="module")
def texts():
    draw = random.Random(2)
    lengths = [0, *range(1, 40), 600, 700, *(draw.randint(40, 400) for _ in range(20))]
    more_than_512_tokens = " ".join(draw.choices(WORDS[:10], k=660))
    return [more_than_512_tokens, *(" ".join(draw.choices(WORDS, k=length)) for length in lengths)]


def make(folder, taxonomy=DEFAULT_TAXONOMY):
    return NvidiaClassifier(str(folder), name="nvidia:here", taxonomy=taxonomy)


def one_by_one(checkpoint, labels, texts):
    """Probabilities by the published recipe, a text at a time, in the order of the taxonomy."""
    folder, model = checkpoint
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    order = [labels.index(label) for label in NVIDIA_26]
    rows = []
    for text in texts:
        ids = tokenizer.encode(text[:MAX_CHARACTERS]).ids
        ids = [*ids[: MAX_TOKENS - 1], 2][:MAX_TOKENS] if len(ids) > MAX_TOKENS else ids
        with torch.inference_mode():
            rows.append(model(torch.tensor([ids]), torch.ones(1, len(ids)))[0].numpy()[order])
    return np.stack(rows)


def test_probabilities_are_those_of_the_published_recipe(checkpoint, labels, texts):
    found_NC = make(checkpoint[0]).probabilities(texts)
    np.testing.assert_allclose(found_NC, one_by_one(checkpoint, labels, texts), atol=2e-5)
    assert len(set(found_NC.argmax(axis=1))) > 3


def test_label_is_the_most_probable_one_and_margin_its_lead(checkpoint, texts):
    classifier = make(checkpoint[0])
    probability_NC = classifier.probabilities(texts)
    found = classifier.classify(texts, {})
    assert found.index.tolist() == probability_NC.argmax(axis=1).tolist()
    ordered = np.sort(probability_NC, axis=1)
    np.testing.assert_array_equal(found.probability, ordered[:, -1])
    np.testing.assert_array_equal(found.margin, ordered[:, -1] - ordered[:, -2])


def test_order_of_the_texts_changes_no_bit(checkpoint, texts):
    classifier = make(checkpoint[0])
    order = random.Random(3).sample(range(len(texts)), len(texts))
    np.testing.assert_array_equal(
        classifier.probabilities([texts[i] for i in order]), classifier.probabilities(texts)[order]
    )


def test_no_texts_give_no_labels(checkpoint):
    assert make(checkpoint[0]).classify([], {}).index.shape == (0,)


def test_text_beyond_the_limits_plays_no_part(checkpoint):
    classifier = make(checkpoint[0])
    short = ("w1 " * MAX_CHARACTERS)[:MAX_CHARACTERS]
    np.testing.assert_array_equal(
        classifier.probabilities([short + "w9 w9"]), classifier.probabilities([short])
    )


def test_batches_hold_similar_lengths_within_the_budget():
    tokens = [[0] * length for length in (5, 1, 3, 3, 20, 2)]
    batches = list(length_batches(tokens, batch_tokens=8))
    assert sorted(row for batch in batches for row in batch) == list(range(6))
    assert [[len(tokens[row]) for row in batch] for batch in batches] == [[1, 2], [3, 3], [5], [20]]


def test_fingerprint_follows_the_weights(checkpoint, labels, tmp_path):
    same = make(checkpoint[0])
    assert make(checkpoint[0]).fingerprint == same.fingerprint
    write_checkpoint(tmp_path, labels[::-1])
    assert make(tmp_path).fingerprint != same.fingerprint


def test_spec_makes_it(checkpoint):
    classifier = make_classifier(classifier_spec(f"nvidia:{checkpoint[0]}", taxonomy=None))
    assert classifier.taxonomy is DEFAULT_TAXONOMY
    assert classifier.columns == ()


def test_labels_have_to_be_those_of_the_taxonomy(checkpoint):
    with pytest.raises(InputError, match=r"26 labels, which differ from taxonomy 'mine'.*--taxonomy"):
        make(checkpoint[0], Taxonomy("mine", ("A", "B")))


def test_encoder_of_the_base_model_is_known_without_a_download(checkpoint, tmp_path, labels):
    config = json.loads((checkpoint[0] / "config.json").read_text())
    bare = {name: value for name, value in config.items() if name not in ENCODER}
    (tmp_path / "config.json").write_text(json.dumps(bare))
    (tmp_path / "model.safetensors").write_bytes((checkpoint[0] / "model.safetensors").read_bytes())
    (tmp_path / "tokenizer.json").write_bytes((checkpoint[0] / "tokenizer.json").read_bytes())
    classifier = make(tmp_path)
    assert classifier._config["hidden_size"] == 768
    with pytest.raises(InputError, match=r"model.safetensors does not fit its config.json"):
        classifier.probabilities(["w1"])


def damaged(checkpoint, folder, **changes):
    """A copy of the checkpoint whose files are replaced, or left out for None."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        content = changes.get(name.partition(".")[0], (checkpoint[0] / name).read_bytes())
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


def test_missing_files_say_what_to_download(checkpoint, tmp_path):
    with pytest.raises(
        NotFoundError, match=r"has no model.safetensors; .*hf download nvidia/domain-classifier"
    ):
        make(damaged(checkpoint, tmp_path, model=None))
    with pytest.raises(NotFoundError, match=r"does not exist; run 'hf download"):
        make(tmp_path / "nowhere")


def test_other_configuration_is_refused(checkpoint, tmp_path):
    with pytest.raises(InputError, match="is not the configuration of a classifier"):
        make(damaged(checkpoint, tmp_path, config=b'{"architectures": ["Llama"]}'))


def test_folder_without_a_tokenizer_says_what_is_missing(checkpoint, tmp_path):
    with pytest.raises(NotFoundError, match=r"has no tokenizer; download tokenizer\.json"):
        make(damaged(checkpoint, tmp_path, tokenizer=None)).probabilities(["w1"])
    (tmp_path / "spm.model").write_bytes(b"no model")
    with pytest.raises(MissingDependencyError, match=r"spm\.model .*sentencepiece"):
        make(tmp_path).probabilities(["w1"])


def test_hub_that_cannot_be_reached_names_the_way_around(monkeypatch):
    import huggingface_hub

    def fail(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(NotFoundError, match=r"cannot download .*\(no network\).*nvidia:DIR"):
        NvidiaClassifier("nvidia/domain-classifier", name="nvidia", taxonomy=DEFAULT_TAXONOMY)
