"""Tasks of a dataset's shards, and counts that travel as text."""

import numpy as np
import pytest
from tests.manifests import dataset_manifest

from dmix.mixing.effects.counting import count_tasks, counts_from_text, counts_to_text, in_threads
from dmix.mixing.effects.ngrams import NgramCounts, Wanted, count_rows
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifests import StreamFile

MIB = 1 << 20


def shard(number, size, samples=4):
    return StreamFile(name=f"shard.{number}.mds", size_bytes=size, sha256="", samples=samples)


def shards(*sizes):
    index = StreamFile(name="index.json", size_bytes=9, sha256="", samples=0)
    return (index, *(shard(number, size) for number, size in enumerate(sizes)))


@pytest.mark.parametrize(
    ("sizes", "groups"),
    [
        ((30 * MIB, 30 * MIB, 30 * MIB), [2, 1]),
        ((200 * MIB, 1 * MIB), [1, 1]),
        ((1 * MIB,), [1]),
        ((), []),
    ],
)
def test_a_task_has_at_most_64_mib_or_one_shard(tmp_path, sizes, groups):
    manifest = dataset_manifest([4 * len(sizes), 0], files=[shards(*sizes), ()])
    tasks = count_tasks(Warehouse.at(tmp_path), manifest)
    assert [len(task.files) for task in tasks] == groups
    assert {task.domain for task in tasks} <= {0}
    for task in tasks:
        assert (task.dtype, task.length) == ("uint16", 8)
        assert all(path.endswith(".mds") and samples == 4 for path, samples in task.files)


def test_counts_come_back_from_text_as_they_were():
    wanted = Wanted.of_pairs(np.array([1, 2]), np.array([2, 3]), vocab_size=5)
    counts = count_rows(np.array([[1, 2, 3, 1, 2]], np.uint16), wanted)
    again = counts_from_text(counts_to_text(counts))
    assert isinstance(again, NgramCounts) and again.total == counts.total > 0
    for name in ("pairs_K", "contexts_U", "tokens_U"):
        np.testing.assert_array_equal(getattr(again, name), getattr(counts, name))


def test_threads_keep_the_order_of_tasks():
    assert in_threads(lambda task: -task, [3, 1, 2]) == [-3, -1, -2]
