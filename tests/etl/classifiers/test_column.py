import pickle

import pytest

from dmix.etl.classifiers.column import ColumnClassifier
from dmix.etl.classifiers.interface import MISSING_LABEL, UNKNOWN_LABEL
from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.taxonomy import DEFAULT_TAXONOMY, Taxonomy

TAXONOMY = Taxonomy("two", ("News", "Games"))


def labels_of(classifier, values):
    return classifier.classify(["text"] * len(values), {"topic": values})


def test_labels_are_looked_up_in_the_taxonomy():
    found = labels_of(ColumnClassifier("topic", taxonomy=TAXONOMY), ["Games", " News\n", "games", "Sports"])
    assert found.index.tolist() == [1, 0, UNKNOWN_LABEL, UNKNOWN_LABEL]
    assert found.probability.tolist() == found.margin.tolist() == [1.0] * 4
    assert found.names is None


@pytest.mark.parametrize("value", [None, "", "  "])
def test_nothing_is_a_missing_label(value):
    for taxonomy in (TAXONOMY, None):
        found = labels_of(ColumnClassifier("topic", taxonomy=taxonomy), [value])
        assert found.index.tolist() == [MISSING_LABEL]


@pytest.mark.parametrize("value", [["News"], {"a": 1}, True, 1.5])
def test_what_is_neither_text_nor_a_whole_number_is_unknown(value):
    for taxonomy in (TAXONOMY, None):
        found = labels_of(ColumnClassifier("topic", taxonomy=taxonomy), [value])
        assert found.index.tolist() == [UNKNOWN_LABEL]


def test_without_a_taxonomy_every_label_is_known():
    found = labels_of(ColumnClassifier("topic", taxonomy=None), ["b", "a", 7, None, "b"])
    assert [found.names[i] if i >= 0 else i for i in found.index] == ["b", "a", "7", MISSING_LABEL, "b"]


def test_no_documents_give_no_labels():
    assert labels_of(ColumnClassifier("topic", taxonomy=None), []).index.shape == (0,)


def test_fingerprint_follows_column_and_allowed_labels():
    fingerprints = {
        ColumnClassifier(column, taxonomy=taxonomy).fingerprint
        for column in ("topic", "other")
        for taxonomy in (None, TAXONOMY, Taxonomy("two", ("Games", "News")))
    }
    assert len(fingerprints) == 6


def test_spec_is_made_of_what_the_user_asked_for(tmp_path):
    (tmp_path / "mine.txt").write_text("A\n# comment\nB\n")
    spec = classifier_spec("column:topic", taxonomy=str(tmp_path / "mine.txt"))
    assert spec.taxonomy == Taxonomy("mine", ("A", "B"))
    assert make_classifier(pickle.loads(pickle.dumps(spec))).name == "column:topic"
    assert classifier_spec("column:topic", taxonomy="from-data").taxonomy is None
    assert classifier_spec("column:topic", taxonomy=None).taxonomy == DEFAULT_TAXONOMY


@pytest.mark.parametrize(
    ("name", "taxonomy", "message"),
    [
        ("colum:topic", None, "unknown; use embedded, nvidia, nvidia:PATH, column:NAME"),
        ("column:", None, "unknown"),
        ("embedded:x", None, "unknown"),
        ("embedded", "from-data", "leave --taxonomy out"),
        ("nvidia", "from-data", "needs --classifier column:NAME"),
    ],
)
def test_what_does_not_go_together_is_refused(name, taxonomy, message):
    with pytest.raises(InputError, match=message):
        classifier_spec(name, taxonomy=taxonomy)


def test_missing_taxonomy_file_is_not_found():
    with pytest.raises(NotFoundError, match="one label per line"):
        classifier_spec("column:topic", taxonomy="/nowhere/labels.txt")
