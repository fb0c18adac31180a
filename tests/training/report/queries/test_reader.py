"""The order of domains, and numbers that are not known."""

import math

import pytest

from dmix.training.report.queries.reader import domain_order, floats, position, records
from dmix.warehouse_schema.catalog.catalog import Catalog
from dmix.warehouse_schema.catalog.sync import sync


def test_domains_come_in_the_order_of_their_taxonomy(warehouse):
    sync(warehouse)
    with Catalog.open_reader(warehouse) as catalog:
        order = domain_order(catalog, "d0123456789abcde")
        assert domain_order(catalog, "gone") == {}
        assert records(catalog, "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, 'y' ORDER BY a") == [
            {"a": 1, "b": "x"},
            {"a": 2, "b": "y"},
        ]
    assert order == {"News": 0, "Science & <b>Maths</b>": 1, "Games": 2}


def test_the_source_comes_first_and_labels_without_a_place_last():
    pairs = [("target", "b"), ("source", "zoo"), ("source", "ant"), ("source", "b"), ("target", "a")]
    ordered = sorted(pairs, key=lambda pair: position(pair, {"b": 0, "a": 1}))
    assert ordered == [
        ("source", "b"),
        ("source", "ant"),
        ("source", "zoo"),
        ("target", "b"),
        ("target", "a"),
    ]


@pytest.mark.parametrize(("value", "number"), [(1, 1.0), (0.5, 0.5), (None, math.nan)])
def test_what_is_not_known_is_nan(value, number):
    assert floats([value]) == pytest.approx([number], nan_ok=True)
