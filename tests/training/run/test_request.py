import pytest

from dmix.training.run.request import RunRequest
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -2}, "--steps is -2, expected at least 1"),
        ({"batch_size": 0}, "--batch-size is 0"),
        ({"max_passes": 0}, "--max-passes is 0"),
        ({"shuffle_block": -1}, "--shuffle-block is -1"),
    ],
)
def test_counts_below_one_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        RunRequest(**given)
