"""The default classifier: features, linear model, training, and what ships."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from benchmarks.make_assets.keyword_model import keyword_forms, keyword_texts, keyword_weights
from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, read_reference

from dmix.etl.classifiers.embedded import WEIGHTS_PATH, EmbeddedClassifier
from dmix.etl.classifiers.features import WordTable, document_features
from dmix.etl.classifiers.keywords import DomainWords
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.etl.distilling.linear_training import (
    cooled,
)
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, NVIDIA_26

DOCS = Path(__file__).parents[3] / "docs"

OBVIOUS = {
    "Adult": "This site contains adult videos, pornography and live sex cams.",
    "Arts_and_Entertainment": "The film director praised the actress for her performance in the new movie.",
    "Autos_and_Vehicles": "The mechanic replaced the brakes and the clutch of the old car.",
    "Beauty_and_Fitness": "This moisturizer and the new lipstick are part of my skin care routine.",
    "Books_and_Literature": "The poet published a novel and a collection of short stories.",
    "Business_and_Industrial": "The company announced a merger and cut jobs at two factories.",
    "Computers_and_Electronics": "Install the software on your laptop and compile the program.",
    "Finance": "Investors sold bonds after the bank raised the interest rate on loans.",
    "Food_and_Drink": "Fry the onions in butter, add garlic and tomatoes, and simmer the sauce.",
    "Games": "The wizard casts a spell and the player rolls the dice in this role-playing game.",
    "Health": "The doctor prescribed antibiotics to treat the infection.",
    "Hobbies_and_Leisure": "He went fly fishing for trout, and she spent the weekend knitting and camping.",
    "Home_and_Garden": "Prune the roses, mow the lawn and put mulch on the flower bed.",
    "Internet_and_Telecom": "The website was slow because the internet provider had a bad router.",
    "Jobs_and_Education": "The students wrote an exam, and the teacher graded their homework.",
    "Law_and_Government": "The senate passed the bill, but the supreme court may overturn the law.",
    "News": "Police said a car bomb killed ten people in Baghdad, officials confirmed.",
    "Online_Communities": "Please read the forum rules before you reply to this thread, says the moderator.",
    "People_and_Society": "The priest read from the bible and the church prayed to God.",
    "Pets_and_Animals": "The puppy barked at the cat, so the veterinarian put it on a leash.",
    "Real_Estate": "Two-bedroom apartment for rent, the landlord asks for a security deposit.",
    "Science": "Physicists measured the orbit of the planet and the mass of the electron.",
    "Sensitive_Subjects": "Survivors of the genocide spoke about torture and mass murder.",
    "Shopping": "I bought these shoes with a coupon, the price was great and shipping was free.",
    "Sports": "The striker scored twice, and the team won the cup final in the stadium.",
    "Travel_and_Transportation": "We booked a hotel and a flight, and took the ferry to the island.",
}


@pytest.fixture(scope="module")
def classifier():
    return make_classifier(classifier_spec("embedded", taxonomy=None))


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer("embedded")


@pytest.fixture(scope="module")
def table(tokenizer):
    return WordTable.of(tokenizer.json_bytes)


@pytest.mark.parametrize("domain", NVIDIA_26)
def test_obvious_sentence_gets_its_domain(classifier, domain):
    labels = classifier.classify([OBVIOUS[domain]], {})
    assert NVIDIA_26[labels.index[0]] == domain
    assert labels.probability[0] > 0.5


def test_labels_have_the_promised_types_and_ranges(classifier):
    labels = classifier.classify([*OBVIOUS.values(), "", " \n", "qzx"], {})
    assert (labels.index.dtype, labels.probability.dtype, labels.margin.dtype) == (
        np.int32,
        np.float32,
        np.float32,
    )
    assert np.all((labels.margin >= 0) & (labels.margin <= labels.probability) & (labels.probability <= 1))
    assert np.array_equal(labels.probability, np.round(labels.probability, 4))


def test_no_document_gives_no_label(classifier):
    labels = classifier.classify([], {})
    assert len(labels.index) == len(labels.probability) == len(labels.margin) == 0


def test_label_of_a_text_does_not_depend_on_its_batch(classifier):
    batch = [f"{text} {other}" for text in OBVIOUS.values() for other in list(OBVIOUS.values())[:12]]
    together = classifier.classify(batch, {})
    backwards = classifier.classify(batch[::-1], {})
    alone = [classifier.classify([text], {}) for text in batch[:40]]
    assert np.array_equal(together.probability, backwards.probability[::-1])
    assert np.array_equal(together.margin, backwards.margin[::-1])
    assert [label.probability[0] for label in alone] == together.probability[:40].tolist()


def test_text_beyond_the_cut_does_not_count(classifier):
    text = OBVIOUS["Sports"] + " x" * 10_000
    longer = text + OBVIOUS["Food_and_Drink"] * 50
    first, second = (classifier.classify([t], {}) for t in (text, longer))
    assert first.probability[0] == second.probability[0]


def test_fingerprint_is_that_of_weights_and_tokenizer(classifier, tmp_path):
    assert EmbeddedClassifier().fingerprint == classifier.fingerprint
    assert pickle.loads(pickle.dumps(classifier)).fingerprint == classifier.fingerprint
    other = tmp_path / "other.safetensors"
    cooled(LinearModel.load(WEIGHTS_PATH), 2.0).save(other)
    assert EmbeddedClassifier(other).fingerprint != classifier.fingerprint


def test_shipped_weights_are_small_and_know_the_default_taxonomy(classifier):
    assert WEIGHTS_PATH.stat().st_size < 8e6
    assert classifier.taxonomy == DEFAULT_TAXONOMY


def test_keyword_weights_prefer_the_label_of_the_word(tokenizer, table):
    weights = keyword_weights(
        {"A": ["goal", "free kick"], "B": ["oven", "free range"]}, tokenizer=tokenizer, table=table
    )
    features, _ = document_features(*tokenizer.encode([" goal"]), table=table)
    assert weights[features[0], 0] > 0 > weights[features[0], 1]
    features, _ = document_features(*tokenizer.encode([" free"]), table=table)
    assert weights[features[0]].tolist() == [0.0, 0.0]


def test_keyword_texts_take_turns_and_hold_a_keyword(tokenizer):
    background = [tokenizer.encode(["some words of no matter"])[0]]
    texts, labels = keyword_texts(
        {"A": ["goalkeeper"], "B": ["casserole"]},
        background,
        per_label=3,
        tokenizer=tokenizer,
        rng=np.random.default_rng(0),
    )
    assert labels.tolist() == [0, 1] * 3
    for text, label in zip(texts, labels, strict=True):
        assert ("goalkeeper", "casserole")[label] in tokenizer.decode(text)
        assert 20 <= len(text) <= 270


def test_keyword_forms_add_plural_and_past_tense():
    words = DomainWords(
        people=("baker",), things=("loaf",), actions=("bake",), qualities=("fresh",), topics=("flour",)
    )
    assert keyword_forms(words) == ["baker", "loaf", "bake", "fresh", "flour", "bakers", "loaves", "baked"]


def test_reference_corpora_leave_out_what_is_excluded(test_data):
    with pytest.raises(NotFoundError, match=r"has no corpora/\*/\*\.jsonl\.gz"):
        next(read_reference(test_data / "eval"))
    everything_else = {
        path.name.removesuffix(".jsonl.gz") for path in (test_data / "corpora").glob("*/*.jsonl.gz")
    } - {"masc", "mawps"}
    assert everything_else > RESEARCH_ONLY | COPYLEFT
    documents = list(read_reference(test_data, exclude=frozenset(everything_else)))
    assert {document.origin for document in documents} == {"masc", "mawps"}
    assert {document.domain for document in documents if document.origin == "mawps"} == {None}


def test_published_accuracy_is_that_of_the_shipped_weights(test_data, classifier):
    published = json.loads((DOCS / "assets" / "classifier.json").read_text(encoding="utf-8"))
    accuracy = {test["test"]: test["accuracy"] for test in published["tests"]}
    rest = {path.name.removesuffix(".jsonl.gz") for path in (test_data / "corpora").glob("*/*.jsonl.gz")}
    documents = list(read_reference(test_data, exclude=frozenset(rest - {"bbc_news"})))
    labels = classifier.classify([document.text for document in documents], {})
    right = [NVIDIA_26[i] == d.domain for i, d in zip(labels.index, documents, strict=True)]
    # the published figure comes from weights that were not yet rounded to 16 bits
    assert np.mean(right) == pytest.approx(accuracy["bbc_news (never trained on)"], abs=0.005)
