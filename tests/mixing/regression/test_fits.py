"""Fits that are made once."""

import os

import numpy as np
import pytest

from dmix.mixing.regression.fits import PlannedFit, newest_fit
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse, publish_json


def test_fit_is_made_once_for_the_same_data_and_settings(tmp_path):
    calls = []

    def made(data, **settings):
        planned = PlannedFit(
            warehouse=Warehouse.at(tmp_path),
            set_name="set",
            kind="x",
            arrays=[np.asarray(data)],
            settings=settings,
            fit=lambda progress: calls.append(data) or [0.1, len(calls)],
        )
        planned.prepare(progress=print)
        return planned.read()

    assert made([1.0], seed=0) == made([1.0], seed=0) == [0.1, 1]
    assert made([2.0], seed=0) == [0.1, 2]
    assert made([1.0], seed=1) == [0.1, 3]
    assert len(calls) == 3
    assert len(list((tmp_path / "trajectories" / "set" / "fits").glob("x-*.json"))) == 3


def test_a_fit_that_was_not_prepared_is_named(tmp_path):
    planned = PlannedFit(
        warehouse=Warehouse.at(tmp_path), set_name="set", kind="x", arrays=[], settings={}, fit=pytest.fail
    )
    with pytest.raises(NotFoundError, match="x has no fit to set 'set' yet"):
        planned.read()


def test_the_newest_fit_is_of_its_own_kind(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    assert newest_fit(warehouse, "set", kind="regmix") is None
    for age, (name, value) in enumerate((("regmix-d-1a", 3), ("regmix-2b", 2), ("regmix-1a", 1))):
        path = warehouse.trajectories("set") / "fits" / f"{name}.json"
        publish_json(path, value)
        os.utime(path, (1000 - age, 1000 - age))
    assert newest_fit(warehouse, "set", kind="regmix") == 2
    assert newest_fit(warehouse, "set", kind="regmix-d") == 3


def test_data_of_another_type_or_shape_are_another_fit(tmp_path):
    arrays = [np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.zeros(8)]
    paths = {
        PlannedFit(
            warehouse=Warehouse.at(tmp_path), set_name="s", kind="x", arrays=[array], settings={}, fit=str
        ).path
        for array in arrays
    }
    assert len(paths) == 4
