"""Wrong ranges and speeds are refused before a model is looked for."""

from pathlib import Path

import pytest

from dmix.cli.workflows.data.synthesize import _range, synthesize_text
from dmix.warehouse_schema.errors import InputError


def test_a_range_of_documents_is_first_and_stop():
    assert _range("64:128") == (64, 128)
    assert _range(None) is None


@pytest.mark.parametrize("given", ["64", "a:b", ":64", "-1:64", ""])
def test_what_is_no_range_is_refused_with_an_example(given):
    with pytest.raises(InputError, match="FIRST:STOP"):
        _range(given)


@pytest.mark.parametrize("bandwidth", [0.0, -1.0])
def test_a_speed_of_memory_is_above_zero(bandwidth):
    with pytest.raises(InputError, match="expected above 0"):
        synthesize_text(
            model="nowhere",
            out=Path("out"),
            generation=None,
            quality=None,
            bandwidth=bandwidth,
            executor=None,
            progress=print,
        )
