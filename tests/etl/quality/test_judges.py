"""The judges of text: the one that ships, and nvidia's on a random checkpoint of the published form."""

import json
import random

import numpy as np
import pytest
import torch
from benchmarks.make_assets.quality import fit_logistic
from huggingface_hub import PyTorchModelHubMixin
from tests.etl.conftest import ENCODER as TWO_LAYERS
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import DebertaV2Config, DebertaV2Model

from dmix.etl.classifiers.nvidia import QUALITY_CHECKPOINT
from dmix.etl.quality.judges import make_quality
from dmix.etl.quality.measures import MEASURES, NeighbourTables, runs, text_measures, word_hashes, words_of
from dmix.etl.quality.settings import QualitySettings
from dmix.etl.quality.verdict import QUALITIES, Judged
from dmix.warehouse_schema.errors import InputError

HIGH, MEDIUM, LOW = (QUALITIES.index(name) for name in ("High", "Medium", "Low"))


def test_low_and_what_is_above_the_threshold_is_dropped():
    judged = Judged(np.array([HIGH, MEDIUM, LOW]), np.array([0.1, 0.4, 0.45], np.float32))
    assert judged.kept(max_low=0.5).tolist() == [True, True, False]
    assert judged.kept(max_low=0.3).tolist() == [True, False, False]
    assert judged.kept(max_low=1.0).tolist() == [True, True, False]
    for wrong in (-0.1, 1.1):
        with pytest.raises(InputError, match=r"--max-low is .*expected 0 to 1"):
            QualitySettings(max_low=wrong)


def test_tables_know_pairs_that_came_together_more_often_than_chance():
    # "red car" always together; "the" before everything
    tables = NeighbourTables.of(
        ["the red car met the old man and the red car left the town", "a red car"] * 3
    )

    def known(text):
        return dict(zip(MEASURES, text_measures(text, tables), strict=True))

    assert known("red car")["known_pairs"] == 1
    assert known("car red")["known_pairs"] == 0
    assert known("the red car")["known_triples"] == 1
    assert known("quux zork")["unknown_words"] == 1
    assert known("red car")["word_frequency"] == pytest.approx(np.log2(1 + 9), abs=1 / 16)


def test_measures_by_hand():
    found = dict(zip(MEASURES, text_measures("Ab 12, ab!", NeighbourTables.of(["x y z"])), strict=True))
    # words ab 12 , ab !; visible characters A b 1 2 , a b !
    assert words_of("Ab 12, ab!") == ["ab", "12", ",", "ab", "!"]
    assert found["log_words"] == pytest.approx(np.log(5))
    assert found["letters"] == 4 / 8
    assert found["digits"] == found["symbols"] == 2 / 8
    assert found["capitals"] == 1 / 4
    assert found["mean_word_length"] == 2
    assert text_measures(" \n", NeighbourTables.of(["x y z"])).tolist() == [0] * len(MEASURES)


def test_hashes_of_runs_tell_order():
    hashes = word_hashes(["a", "b", "a", "b", "a"])
    assert len(np.unique(runs(hashes, 2))) == 2
    assert len(runs(hashes[:1], 2)) == 0


def test_logistic_weights_find_the_direction_that_separates():
    rng = np.random.default_rng(0)
    inputs = np.column_stack([rng.normal(size=400), rng.normal(size=400), np.ones(400)])
    weight = fit_logistic(inputs, inputs[:, 1] > 0)
    assert weight[1] > 5 * abs(weight[0])


def test_an_unknown_judge_is_refused_and_none_drops_nothing():
    with pytest.raises(InputError, match="'good' is unknown; use embedded, nvidia"):
        make_quality("good")
    assert make_quality("none").judge(["", "x"]).kept(max_low=0.0).tolist() == [True, True]


ENCODER = {**TWO_LAYERS, "num_hidden_layers": 1}


class Published(nn.Module, PyTorchModelHubMixin):
    """The published form, as on the card: a linear layer on every position, the first one counts."""

    def __init__(self, config):
        super().__init__()
        encoder = {name: value for name, value in config.items() if name in ENCODER and name != "model_type"}
        self.model = DebertaV2Model(DebertaV2Config(**encoder))
        self.fc = nn.Linear(16, len(config["id2label"]))

    def forward(self, ids):
        states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        return torch.softmax(self.fc(states)[:, 0, :], dim=1)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """(folder, model) with labels in another order than ours."""
    folder = tmp_path_factory.mktemp("quality")
    labels = ["Low", "High", "Medium"]
    config = {
        "base_model": "microsoft/deberta-v3-base",
        "fc_dropout": 0.2,
        "id2label": {str(i): label for i, label in enumerate(labels)},
        **ENCODER,
    }
    torch.manual_seed(3)
    model = Published(config)
    with torch.no_grad():
        for parameter in model.fc.parameters():
            parameter.normal_(0, 2.0)
    model.eval().save_pretrained(folder, config=config)
    words = [f"w{i}" for i in range(60)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="w1"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder, model


def test_nvidia_gives_its_labels_and_the_probability_of_low(checkpoint):
    folder, model = checkpoint
    judge = make_quality(f"nvidia:{folder}")
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(2, 60)}" for _ in range(rng.randrange(1, 30))) for _ in range(12)]
    judged = judge.judge(texts)
    for text, label, low in zip(texts, judged.label, judged.probability_low, strict=True):
        with torch.inference_mode():
            expected = model(torch.tensor([[int(word[1:]) for word in text.split()]]))[0]
        assert low == pytest.approx(float(expected[0]), abs=1e-5)
        assert QUALITIES.labels[label] == ["Low", "High", "Medium"][int(expected.argmax())]


def test_nvidia_reads_1024_tokens(checkpoint):
    assert (QUALITY_CHECKPOINT.hub_id, QUALITY_CHECKPOINT.max_tokens) == (
        "nvidia/quality-classifier-deberta",
        1024,
    )
    judge = make_quality(f"nvidia:{checkpoint[0]}")
    beginning = " ".join(["w5", "w6"] * 512)
    low = judge.judge([beginning, beginning + " w7 w8 w9", "w7 w8 w9"]).probability_low
    assert low[0] == low[1] != low[2]


def test_a_checkpoint_with_other_labels_is_refused(checkpoint, tmp_path):
    folder, _ = checkpoint
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "id2label": {"0": "Good", "1": "Bad"}}))
    with pytest.raises(InputError, match="labels, which differ from taxonomy 'quality'"):
        make_quality(f"nvidia:{tmp_path}")
