"""What grows with the size of data and runs: the made-up data is what dmix takes."""

import os

import pytest
from benchmarks import scale

from dmix.warehouse_schema.files.layout import Warehouse


@pytest.mark.parametrize(
    ("work", "size"),
    [
        (scale.inputs, 120),
        (scale.parts, 3),
        (scale.shards, 52),
        (scale.runs, 2),
        (scale.steps, 3),
        (scale.plan_domains, 52),
        (scale.plan_samples, 1_000),
    ],
)
def test_made_up_data_is_measured(work, size, tmp_path):
    figures = work(size, Warehouse.at(tmp_path))
    assert figures and all(value >= 0 for value in figures.values())


def test_a_measuring_process_that_ends_without_figures_is_an_error():
    with pytest.raises(RuntimeError, match="exit code 3"):
        scale.alone(lambda size, warehouse: os._exit(size), 3)
