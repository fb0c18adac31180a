"""A batch of documents gets labels, rejects and its rows, whatever the classifier is."""

from types import SimpleNamespace

import numpy as np
import pytest

from dmix.etl.classifiers.interface import MISSING_LABEL, UNKNOWN_LABEL, Labels
from dmix.etl.classify import label_tasks
from dmix.etl.classify.label_tasks import label_batch, label_part
from dmix.etl.reading.documents import Document
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.taxonomy import Taxonomy

DOCUMENTS = [
    Document(id=f"i{n}", text=text, size_bytes=len(text), path="a.jsonl", position=n + 1, values=(value,))
    for n, (text, value) in enumerate((("one", "News"), ("two", None), ("three", "Odd"), ("four", "Games")))
]


def classifier(index, *, names=None, by_fallback=None, seen=None):
    def classify(texts, records):
        if seen is not None:
            seen.append((texts, records))
        return Labels(
            index=np.array(index, np.int32),
            probability=np.array([0.123456789, 0, 0, 1], np.float32)[: len(index)],
            margin=np.zeros(len(index), np.float32),
            names=names,
            by_fallback=by_fallback,
        )

    taxonomy = None if names else Taxonomy("two", ("Games", "News"))
    return SimpleNamespace(columns=("topic",), classify=classify, taxonomy=taxonomy, name="c")


def test_documents_with_a_label_have_a_row_and_the_others_a_reason():
    seen = []
    table, refused, asked = label_batch(
        DOCUMENTS, classifier([1, MISSING_LABEL, UNKNOWN_LABEL, 0], seen=seen)
    )
    assert seen == [(("one", "two", "three", "four"), {"topic": ["News", None, "Odd", "Games"]})]
    rows = table.to_pylist()
    assert [(row["id"], row["label"], row["position"]) for row in rows] == [
        ("i0", "News", 1),
        ("i3", "Games", 4),
    ]
    assert [(r.position, r.reason, r.detail, r.prefix) for r in refused] == [
        (2, "missing_label", "label None", "two"),
        (3, "unknown_label", "label 'Odd'", "three"),
    ]
    assert asked == 0


def test_probabilities_are_rounded_so_that_files_do_not_differ():
    table, _, _ = label_batch(DOCUMENTS[:1], classifier([0]))
    assert table.to_pylist()[0]["probability"] == pytest.approx(0.1235, abs=1e-7)


def test_an_open_taxonomy_names_its_labels_itself():
    table, refused, asked = label_batch(
        DOCUMENTS[:2], classifier([1, 0], names=("b", "a"), by_fallback=np.array([True, False]))
    )
    assert (table.column("label").to_pylist(), refused, asked) == (["a", "b"], [], 1)


def test_a_worker_with_other_weights_is_refused_before_it_reads(monkeypatch):
    monkeypatch.setattr(
        label_tasks, "make_classifier", lambda spec: SimpleNamespace(name="c", fingerprint="1")
    )
    job = SimpleNamespace(classifier=None, classifier_fingerprint="2")
    with pytest.raises(InputError, match="differs between this worker and the driver"):
        label_part(None, job)
