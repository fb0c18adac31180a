import numpy as np
import pytest

from dmix.etl.classifiers.cascade import CascadeClassifier
from dmix.etl.classifiers.interface import UNKNOWN_LABEL, Labels
from dmix.etl.classifiers.registry import classifier_spec, make_classifier
from dmix.etl.classify.label_tasks import label_batch
from dmix.etl.reading.documents import Document
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import Taxonomy

TAXONOMY = Taxonomy("two", ("A", "B"))


class Fixed:
    """Gives every text the label at `index`, with the margin that the text names."""

    columns = ()

    def __init__(self, name, index, taxonomy=TAXONOMY):
        self.name, self.taxonomy, self.fingerprint, self._index = name, taxonomy, name, index
        self.seen = []

    def classify(self, texts, records):
        self.seen.append(list(texts))
        margin = np.array([float(text) for text in texts], dtype=np.float32)
        return Labels(np.full(len(texts), self._index, np.int32), margin, margin)


def test_only_low_margins_go_to_the_second_classifier():
    first, second = Fixed("first", 0), Fixed("second", 1)
    found = CascadeClassifier(first, second, margin=0.5).classify(["0.9", "0.1", "0.5", "0.4"], {})
    assert second.seen == [["0.1", "0.4"]]
    assert found.index.tolist() == [0, 1, 0, 1]
    assert found.by_fallback.tolist() == [False, True, False, True]


def test_the_second_classifier_is_not_asked_about_nothing():
    second = Fixed("second", 1)
    found = CascadeClassifier(Fixed("first", 0), second, margin=0.0).classify(["0.0"], {})
    assert second.seen == []
    assert found.by_fallback.tolist() == [False]
    assert len(CascadeClassifier(Fixed("a", 0), second, margin=1.0).classify([], {}).index) == 0


def test_fingerprint_and_name_follow_both_classifiers_and_the_margin():
    first, second = Fixed("first", 0), Fixed("second", 1)
    made = [CascadeClassifier(first, second, margin=m) for m in (0.1, 0.2)] + [
        CascadeClassifier(second, first, margin=0.1)
    ]
    assert len({one.fingerprint for one in made}) == 3
    assert made[1].name == "first, second below 0.2"


def test_different_labels_are_refused():
    with pytest.raises(InputError, match="'first' and 'other' have different labels"):
        CascadeClassifier(Fixed("first", 0), Fixed("other", 0, Taxonomy("one", ("A",))), margin=0.1)
    with pytest.raises(InputError, match="--taxonomy from-data takes the labels"):
        classifier_spec("column:x", taxonomy="from-data", fallback="embedded")


def test_a_column_as_fallback_gets_the_values_of_the_unsure_documents():
    spec = classifier_spec("embedded", taxonomy=None, fallback="column:topic", margin=1.0)
    classifier = make_classifier(spec)
    assert classifier.columns == ("topic",)
    found = classifier.classify(["another", "another"], {"topic": ["Games", "no label"]})
    assert [classifier.taxonomy.labels[found.index[0]], found.index[1]] == ["Games", UNKNOWN_LABEL]


def test_a_batch_counts_what_the_fallback_was_asked_about():
    classifier = CascadeClassifier(Fixed("first", 0), Fixed("second", 1), margin=0.5)
    documents = [Document(f"d{i}", text, 3, "f", i, ()) for i, text in enumerate(["0.9", "0.1", "0.2"])]
    table, refused, asked = label_batch(documents, classifier)
    assert (table.column("label").to_pylist(), refused, asked) == (["A", "B", "B"], [], 2)
