"""Settings of dmix agent clone."""

import pytest

from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"best": 0.0}, "--best is 0.0"),
        ({"best": 1.1}, "--best is 1.1"),
        ({"aim": -0.1}, "--aim is -0.1"),
        ({"aim": 1.5}, "--aim is 1.5"),
        ({"architecture": "set"}, "--architecture is set"),
        ({"epochs": 0}, "--epochs is 0"),
    ],
)
def test_settings_out_of_range_are_refused(given, named):
    with pytest.raises(InputError, match=named):
        CloneSettings(**given)


@pytest.mark.parametrize("given", [{"best": 1.0}, {"aim": 0.0}, {"aim": 1.0}, {"aim": None}])
def test_ends_of_the_ranges_are_settings(given):
    CloneSettings(**given)
