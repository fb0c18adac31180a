"""The default classifier: features, linear model, training, and what ships."""

import itertools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from benchmarks.make_assets.keyword_model import keyword_forms, keyword_texts, keyword_weights
from benchmarks.make_assets.reference_corpora import COPYLEFT, RESEARCH_ONLY, read_reference
from scipy.sparse import csr_array

from dmix.etl.classifiers.embedded import WEIGHTS_PATH, EmbeddedClassifier, most_probable
from dmix.etl.classifiers.features import NUM_FEATURES, WordTable, document_features, word_hashes
from dmix.etl.classifiers.keywords import DomainWords, domain_words
from dmix.etl.classifiers.linear import LinearModel
from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.etl.distilling.linear_training import (
    FeatureRows,
    TrainingSettings,
    cooled,
    fit_temperature,
    rarity,
    train_linear,
)
from dmix.etl.text.inflection import past, plural, with_article
from dmix.etl.text.tokens import load_tokenizer
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, NVIDIA_26, Taxonomy

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


@pytest.fixture(scope="module")
def hashes(tokenizer, table):
    """The word hashes of one text."""

    def of(text):
        return word_hashes(*tokenizer.encode([text]), table=table)[0].tolist()

    return of


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


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(NotFoundError, match=r"gone\.safetensors does not exist"):
        EmbeddedClassifier(tmp_path / "gone.safetensors").classify(["text"], {})


def test_file_that_holds_no_weights_is_refused(tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"no safetensors at all")
    with pytest.raises(InputError, match="is not a file of classifier weights"):
        LinearModel.load(path)


def test_weights_survive_saving(tmp_path):
    model = LinearModel.load(WEIGHTS_PATH)
    model.save(tmp_path / "copy.safetensors")
    assert (tmp_path / "copy.safetensors").read_bytes() == WEIGHTS_PATH.read_bytes()
    copy = LinearModel.load(tmp_path / "copy.safetensors")
    assert copy.taxonomy == model.taxonomy
    assert copy.prior_mass == model.prior_mass
    for name in ("weight", "mass", "bias"):
        assert np.array_equal(getattr(copy, name), getattr(model, name))


def test_lower_index_wins_a_tie():
    labels = most_probable(np.array([[0.2, 0.4, 0.4], [0.5, 0.3, 0.2]], np.float32))
    assert labels.index.tolist() == [1, 0]
    assert labels.margin.tolist() == pytest.approx([0.0, 0.2])


def test_word_hash_ignores_case_plural_and_the_cut_of_the_tokenizer(hashes):
    assert hashes("Leukemia")[0] == hashes("the leukemias")[1] == hashes("(LEUKEMIA)")[1]
    assert hashes("film") == hashes("Films")
    assert hashes("film") != hashes("filmed")
    assert hashes("gas") != hashes("ga")  # too short to lose its s


def test_word_hash_of_a_very_long_word_is_that_of_the_same_word(hashes):
    assert hashes("a" * 500) == hashes("a" * 500)
    assert len(hashes("a" * 500)) == 1


def test_words_end_with_their_document(tokenizer, table):
    batch = ["sea", "horse", "", "sea horse"]
    hashes, counts = word_hashes(*tokenizer.encode(batch), table=table)
    assert counts.tolist() == [1, 1, 0, 2]
    assert hashes[:2].tolist() == hashes[2:].tolist()


def test_features_are_distinct_in_each_document(tokenizer, table):
    ids, lengths = tokenizer.encode(["cat cat cat cat dog", "", "cat"])
    features, offsets = document_features(ids, lengths, table=table)
    first = features[: offsets[1]]
    assert len(first) == len(set(first.tolist())) == 4  # cat, dog, "cat cat", "cat dog"
    assert offsets.tolist() == [0, 4, 4]
    assert features.max() < NUM_FEATURES


def test_no_document_has_no_features(table):
    features, offsets = document_features(np.empty(0, np.uint32), np.empty(0, np.int64), table=table)
    assert len(features) == len(offsets) == 0


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


@pytest.mark.parametrize("documents", [1, 32, 33, 200])
def test_sums_are_those_of_scipys_sparse_product_to_the_last_bit(documents):
    model, rng = LinearModel.load(WEIGHTS_PATH), np.random.default_rng(documents)
    ends = np.append(0, np.cumsum(rng.integers(0, 700, documents))).astype(np.int32)
    features = rng.integers(0, NUM_FEATURES, ends[-1]).astype(np.int32)
    found = model._sums(features, ends)
    ones = np.ones(len(features), np.float32)
    expected = csr_array((ones, features, ends), shape=(documents, NUM_FEATURES)) @ model._table
    assert np.array_equal(found, expected[:, : found.shape[1]])
    assert np.array_equal(model._sums(features, ends)[:, : found.shape[1]], found)


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


def test_temperature_cools_a_model_that_is_too_sure():
    logits = np.array([[8.0, 0.0], [8.0, 0.0], [0.0, 8.0], [8.0, 0.0]], np.float32)
    assert fit_temperature(logits, np.array([0, 0, 1, 1])) > 2
    assert fit_temperature(logits, np.array([0, 0, 1, 0])) == 0.25


def test_every_domain_has_its_keywords():
    words = domain_words()
    assert tuple(words) == NVIDIA_26
    for domain, lists in words.items():
        assert len(lists.all()) >= 60, domain
        assert all(word == word.strip() and word for word in lists.all()), domain


def test_keyword_forms_add_plural_and_past_tense():
    words = DomainWords(
        people=("baker",), things=("loaf",), actions=("bake",), qualities=("fresh",), topics=("flour",)
    )
    assert keyword_forms(words) == ["baker", "loaf", "bake", "fresh", "flour", "bakers", "loaves", "baked"]


def test_irregular_words_are_inflected():
    assert [plural(noun) for noun in ("box", "baby", "toy", "salesman", "field mouse")] == [
        "boxes",
        "babies",
        "toys",
        "salesmen",
        "field mice",
    ]
    assert [past(verb) for verb in ("bake", "study", "stir", "play", "log in", "drive")] == [
        "baked",
        "studied",
        "stirred",
        "played",
        "logged in",
        "drove",
    ]
    assert [with_article(noun) for noun in ("engine", "car", "university")] == [
        "an engine",
        "a car",
        "a university",
    ]


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
