"""Settings of a start state that is estimated from a model."""

import pytest

from dmix.etl.synthetic.start_state.settings import StartStateSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"kl_bound": 0.0}, "--kl-bound is 0.0"),
        ({"confidence": 0.0}, "confidence is 0.0"),
        ({"confidence": 1.0}, "confidence is 1.0"),
        ({"min_documents": 0}, "min_documents is 0"),
        ({"min_documents": 9, "max_documents": 8}, "max_documents 8"),
    ],
)
def test_settings_out_of_range_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        StartStateSettings(**given)


def test_one_number_of_documents_may_be_both_bounds():
    assert StartStateSettings(min_documents=8, max_documents=8).max_documents == 8
