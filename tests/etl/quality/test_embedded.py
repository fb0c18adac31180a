"""The quality judge that comes with dmix."""

import numpy as np
import pytest
from benchmarks.make_assets.quality import CORRUPTIONS, Chains

from dmix.etl.quality.embedded import (
    FARTHEST,
    LEAST_WORDS,
    NUM_INPUTS,
    WEIGHTS_PATH,
    EmbeddedQuality,
    QualityModel,
    labels_of,
    model_inputs,
)
from dmix.etl.quality.judges import make_quality
from dmix.etl.quality.measures import MEASURES
from dmix.etl.quality.verdict import QUALITIES
from dmix.warehouse_schema.errors import InputError, NotFoundError

GOOD = (
    "The judge read the letter twice before she said anything. Nobody in the room had expected that the"
    " company would admit its mistake so soon, and the lawyers on both sides were not sure what to do next."
    " At last she put the paper down, took off her glasses, and asked whether they wished to go on with the"
    " case. After a short break, during which the two parties talked in the hall, they told her that they had"
    " come to an agreement and that the trial could end that day."
)


HIGH, MEDIUM, LOW = (QUALITIES.index(name) for name in ("High", "Medium", "Low"))


@pytest.fixture(scope="module")
def embedded():
    return make_quality("embedded")


def test_running_text_is_kept_and_what_was_made_of_it_is_not(embedded):
    rng = np.random.default_rng(0)
    words = GOOD.split()
    chains = Chains.of([GOOD])
    spoilt = {
        name: CORRUPTIONS[name](words, chains, rng)
        for name in ("shuffled words", "word salad", "loop", "changed characters", "shuffled letters")
    }
    low = embedded.judge([GOOD, *spoilt.values()]).probability_low
    assert low[0] < 0.5
    assert dict(zip(spoilt, low[1:] >= 0.5, strict=True)) == dict.fromkeys(spoilt, True)


def test_short_texts_and_loops_are_low_without_asking_the_weights(embedded):
    judged = embedded.judge(["", "one two", " ".join(["so it goes on"] * 40), "word " * (LEAST_WORDS - 1)])
    assert judged.probability_low.tolist() == [1, 1, 1, 1]
    assert judged.label.tolist() == [LOW] * 4


def test_a_judgement_does_not_depend_on_the_other_texts(embedded):
    alone = embedded.judge([GOOD]).probability_low[0]
    assert embedded.judge(["x", GOOD, GOOD[::-1]]).probability_low[1] == alone
    assert len(embedded.judge([]).label) == 0


def test_labels_follow_the_probability_of_low():
    assert labels_of(np.array([0.0, 0.09, 0.1, 0.49, 0.5, 1.0])).tolist() == [
        HIGH,
        HIGH,
        MEDIUM,
        MEDIUM,
        LOW,
        LOW,
    ]


def test_model_inputs_are_standardised_cut_and_multiplied():
    count = len(MEASURES)
    found = model_inputs(np.full((1, count), 3.0), mean=np.ones(count), std=np.full(count, 4.0))
    assert found.shape == (1, NUM_INPUTS)
    assert found[0, :count].tolist() == [0.5] * count
    assert found[0, count:].tolist() == [0.25] * (NUM_INPUTS - count)
    far = model_inputs(np.full((1, count), 1e9), mean=np.ones(count), std=np.ones(count))
    assert far.max() == FARTHEST**2


def test_weights_survive_a_file_and_a_damaged_file_is_named(tmp_path):
    model = QualityModel.load(WEIGHTS_PATH)
    model.save(tmp_path / "w.safetensors")
    assert EmbeddedQuality(tmp_path / "w.safetensors").judge([GOOD]).probability_low[0] == pytest.approx(
        model.probability_low(GOOD)
    )
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a file of quality weights"):
        QualityModel.load(tmp_path / "w.safetensors")
    with pytest.raises(NotFoundError, match="does not exist"):
        QualityModel.load(tmp_path / "none.safetensors")


def test_the_weights_that_ship_are_small():
    assert WEIGHTS_PATH.stat().st_size < 2_000_000
