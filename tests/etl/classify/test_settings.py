"""Settings of classification: refused where they are given, named as their flags."""

import pytest

from dmix.etl.classify.settings import MOST_DOCUMENT_BYTES, ClassifySettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"margin": -0.1}, "--margin"),
        ({"margin": 1.1}, "--margin"),
        ({"margin": float("nan")}, "--margin"),
        ({"id_column": ""}, "--id-column"),
        ({"max_document_bytes": 0}, "--max-document-bytes"),
        ({"max_document_bytes": MOST_DOCUMENT_BYTES + 1}, "--max-document-bytes"),
        ({"part_bytes": 0}, "--part-bytes"),
        ({"piece_bytes": 0}, "--piece-bytes"),
    ],
)
def test_settings_out_of_range_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        ClassifySettings(**given)


@pytest.mark.parametrize(
    "given",
    [{"margin": 0.0}, {"margin": 1.0}, {"max_document_bytes": MOST_DOCUMENT_BYTES}, {"part_bytes": 1}],
)
def test_ends_of_the_ranges_are_settings(given):
    ClassifySettings(**given)
