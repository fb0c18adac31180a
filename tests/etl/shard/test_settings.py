"""Settings of a dataset."""

import pytest

from dmix.etl.shard.shard import ShardSettings
from dmix.warehouse_schema.errors import InputError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seq_len": 1}, "seq_len is 1, expected at least 2; change --seq-len"),
        ({"seed": -1}, "seed is -1, expected at least 0"),
        ({"split_bytes": 0}, "split_bytes is 0, expected at least 1; change --split-bytes"),
    ],
)
def test_settings_out_of_range_are_refused(values, message):
    with pytest.raises(InputError, match=message):
        ShardSettings(**values)
