"""Training of a linear model over word features."""

import itertools

import numpy as np
import pytest

from dmix.etl.classifiers.features import NUM_FEATURES, WordTable
from dmix.etl.distilling.linear_training import (
    FeatureRows,
    TrainingSettings,
    fit_temperature,
    rarity,
    train_linear,
)
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.taxonomy import Taxonomy


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


@pytest.fixture(scope="module")
def table(tokenizer):
    return WordTable.of(tokenizer.json_bytes)


def test_rarity_falls_from_one_to_zero_between_its_bounds():
    values = rarity(np.array([0.0, 0.001, 0.01, 0.1, 0.9]), (0.1, 0.001))
    assert values.tolist() == pytest.approx([1.0, 1.0, 0.5, 0.0, 0.0])


def toy_rows(tokenizer, table, words, number):
    rng = np.random.default_rng(1)
    texts = [" ".join(rng.choice(words, 12)) for _ in range(number)]
    ids, lengths = tokenizer.encode(texts)
    return np.split(ids, np.cumsum(lengths)[:-1])


def toy_training(tokenizer, table, **more):
    rows = [
        *toy_rows(tokenizer, table, ["goal", "striker", "the", "of"], 300),
        *toy_rows(tokenizer, table, ["oven", "garlic", "the", "of"], 300),
    ]
    features = FeatureRows.of(rows, table=table)
    labels = np.repeat([0, 1], 300)
    settings = TrainingSettings(batch_size=50, scale=10.0, learning_rate=0.1)
    shares = np.full(NUM_FEATURES, 0.001)
    taxonomy = Taxonomy("two", ("Sports", "Food"))
    return train_linear(features, labels, taxonomy=taxonomy, shares=shares, settings=settings, **more)


def test_training_separates_two_labels_without_a_prior(tokenizer, table):
    model = toy_training(tokenizer, table)
    rows = FeatureRows.of(
        [tokenizer.encode([text])[0] for text in ("the striker of the goal", "garlic of the oven")],
        table=table,
    )
    assert model.logits(rows.features, rows.offsets).argmax(axis=1).tolist() == [0, 1]


def test_few_documents_have_the_sums_of_many(tokenizer, table):
    model = toy_training(tokenizer, table)
    texts = [f"the striker {number} of " + "the garlic goal " * (number % 7) for number in range(80)]
    rows = FeatureRows.of([tokenizer.encode([text])[0] for text in texts], table=table)
    ends = [*rows.offsets.tolist(), len(rows.features)]
    alone = [
        model.logits(rows.features[start:stop], np.zeros(1, np.int32))[0]
        for start, stop in itertools.pairwise(ends)
    ]
    assert np.array_equal(model.logits(rows.features, rows.offsets), np.array(alone))


def test_training_twice_gives_the_same_weights(tokenizer, table):
    first, second = (toy_training(tokenizer, table) for _ in range(2))
    assert np.array_equal(first.weight, second.weight)


def test_feature_of_most_documents_counts_nothing(tokenizer, table):
    shares = np.full(NUM_FEATURES, 0.9)
    rows = FeatureRows.of(toy_rows(tokenizer, table, ["goal", "oven"], 100), table=table)
    model = train_linear(
        rows,
        np.arange(100) % 2,
        taxonomy=Taxonomy("two", ("A", "B")),
        shares=shares,
        settings=TrainingSettings(batch_size=50),
    )
    assert not model.weight.any()
    assert not model.mass.any()


def test_temperature_cools_a_model_that_is_too_sure():
    logits = np.array([[8.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 0.0]], np.float32)
    assert fit_temperature(logits, np.array([0, 0, 1, 1])) > 2
    assert fit_temperature(logits, np.array([0, 0, 1, 0])) == 0.25
