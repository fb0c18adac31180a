"""Settings of text that a model writes."""

import pytest

from dmix.etl.synthetic.generation_settings import LARGEST_SEED, GenerationSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"seed": -1}, "--seed"),
        ({"seed": LARGEST_SEED + 1}, "--seed"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"block_documents": 0}, "--block-documents"),
    ],
)
def test_settings_out_of_range_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        GenerationSettings(**given)


def test_the_largest_seed_and_no_cap_are_settings():
    assert GenerationSettings(seed=LARGEST_SEED, max_tokens=None).max_tokens is None
