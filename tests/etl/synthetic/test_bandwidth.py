"""Tokens per second against what memory could give, worked by hand."""

import pytest

from dmix.etl.synthetic.bandwidth import throughput
from dmix.etl.synthetic.generation_tasks import BlockCost
from dmix.etl.synthetic.memory import MemoryNeed

NEED = MemoryNeed(weights=120, cache=7, scores=9, read=100)


def test_each_pass_reads_the_weights_once():
    # ten passes over 100 bytes in two seconds, four documents in a batch
    found = throughput(BlockCost(passes=10, rows=40, seconds=2.0), NEED, bandwidth=1000.0)
    assert (found.tokens_per_second, found.bytes_per_second, found.limit) == (20.0, 500.0, 40.0)
    assert found.share == 0.5 == pytest.approx(found.tokens_per_second / found.limit)


@pytest.mark.parametrize(("passes", "seconds"), [(0, 1.0), (3, 0.0)])
def test_nothing_written_has_no_throughput(passes, seconds):
    assert throughput(BlockCost(passes=passes, rows=0, seconds=seconds), NEED, bandwidth=1.0) is None
