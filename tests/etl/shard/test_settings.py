"""Settings of a dataset."""

import pytest

from dmix.etl.shard.shard import ShardSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seq_len": 1}, "--seq-len is 1, expected at least 2"),
        ({"seed": -1}, "--seed is -1, expected 0 or more"),
        ({"split_bytes": 0}, "--split-bytes is 0, expected at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        ShardSettings(**values)
