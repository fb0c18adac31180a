"""Sizes of streams."""

from typing import Any

import numpy as np
import pytest

from dmix.mixing.delivery.streams import (
    StreamSizes,
)
from dmix.warehouse_schema.errors import InputError


def test_streams_need_a_field_for_each_domain_and_something_to_draw() -> None:
    with pytest.raises(InputError, match="shards of 2 domains, but fields of 1"):
        StreamSizes((np.array([3]), np.array([4])), np.array([True]))
    with pytest.raises(InputError, match="no domain has a single sample"):
        StreamSizes((np.array([], dtype=np.int64),), np.array([True]))
    with pytest.raises(InputError, match="a shard has no samples"):
        StreamSizes((np.array([3, 0]),), np.array([True]))


def sizes():
    return StreamSizes(
        (np.array([3, 2]), np.array([], dtype=np.int64), np.array([4])), np.array([False, False, True])
    )


def test_ids_run_through_the_domains_in_order() -> None:
    assert sizes().samples_N.tolist() == [5, 0, 4] and sizes().offsets_N.tolist() == [0, 5, 5]
    assert sizes().domains_of(np.array([[0, 4], [5, 8]])).tolist() == [[0, 0], [2, 2]]
    assert sizes().count(np.array([0, 5, 5, 8])).tolist() == [1, 0, 3]
    assert sizes().count(np.array([], dtype=np.int64)).tolist() == [0, 0, 0]


def test_sizes_of_a_dataset_leave_out_files_without_samples(stored: Any) -> None:
    found = StreamSizes.of_manifest(stored.manifest)
    assert found.samples_N.tolist() == [130, 0, 50, 90, 7, 64]
    assert found.target_N.tolist() == [False] * 3 + [True] * 3
    assert len(found) == 6 and len(found.shard_samples[0]) > 1 and (found.shard_samples[0] > 0).all()
