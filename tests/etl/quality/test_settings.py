"""Settings of the quality of text."""

import pytest

from dmix.etl.quality.settings import QualitySettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize("max_low", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_probability(max_low):
    with pytest.raises(InputError, match="--max-low"):
        QualitySettings(max_low=max_low)


@pytest.mark.parametrize("max_low", [0.0, 1.0])
def test_both_ends_are_thresholds(max_low):
    assert QualitySettings(max_low=max_low).max_low == max_low
