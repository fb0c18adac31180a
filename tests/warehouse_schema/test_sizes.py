import pytest

from dmix.warehouse_schema.sizes import size_text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (4_200, "4.2 kB"),
        (999_949, "999.9 kB"),
        (999_960, "1.0 MB"),
        (17e6, "17.0 MB"),
        (2.14e9, "2.1 GB"),
        (5e12, "5,000.0 GB"),
    ],
)
def test_sizes_have_the_unit_that_fits(size_bytes, text):
    assert size_text(size_bytes) == text
