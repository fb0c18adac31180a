import numpy as np
import pytest

from dmix.etl.distilling.agreement import domain_agreements, margin_agreements, weighted_agreement
from dmix.warehouse_schema.taxonomy import Taxonomy

TAXONOMY = Taxonomy("three", ("A", "B", "C"))


def test_weights_stand_for_documents_that_were_not_drawn():
    agree = np.array([True, False])
    assert weighted_agreement(agree, np.array([3.0, 1.0])) == 0.75
    assert weighted_agreement(agree[:0], np.empty(0)) == 0.0


def test_domains_have_recall_and_precision():
    labels, predicted = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    first, second = domain_agreements(labels, predicted, np.array([1.0, 1.0, 2.0, 2.0]), TAXONOMY)
    assert (first.domain, first.documents, first.agreement, first.precision) == ("A", 2, 0.5, 1.0)
    assert (second.domain, second.agreement, second.precision) == ("B", 1.0, 0.8)


def test_a_label_that_is_never_given_has_no_precision():
    [row] = domain_agreements(np.array([2]), np.array([0]), np.ones(1), TAXONOMY)
    assert (row.domain, row.agreement, row.precision) == ("C", 0.0, None)


def test_margins_say_what_is_sent_and_how_well_the_rest_agrees():
    agree = np.array([True, False, True, False])
    margin = np.array([0.9, 0.1, 0.2, 0.6], dtype=np.float32)
    rows = margin_agreements(agree, margin, np.ones(4), margins=(0.0, 0.2, 1.0))
    assert [(row.sent, row.kept_agreement) for row in rows] == [
        (0.0, 0.5),
        (0.25, pytest.approx(2 / 3, abs=1e-4)),
        (1.0, None),
    ]
    assert [row.agreement for row in rows] == [0.5, 0.75, 1.0]
