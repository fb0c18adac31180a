"""Schedules of the target share, worked by hand over a run of five steps."""

import pytest

from dmix.mixing.controllers.registry import make_controller
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def make(space, tmp_path):
    return lambda spec: make_controller(spec, warehouse=Warehouse.at(tmp_path), space=space)


@pytest.fixture
def target_shares(make, history, space):
    """The target share that a controller asks for at each of five steps."""

    def shares(spec):
        controller = make(spec)
        assert controller.name == spec
        asked = [controller.propose(history(step, steps=5)).mixture_N for step in range(1, 6)]
        for mixture in asked:
            # natural shares within the fields: all of the source is one domain, the target 5 : 2
            assert mixture[1] == 0
            assert mixture[2] * 2 == pytest.approx(mixture[3] * 5)
            assert mixture.sum() == pytest.approx(1)
        return [space.coarsen(mixture)[1] for mixture in asked]

    return shares


@pytest.mark.parametrize(
    ("spec", "wanted"),
    [
        ("linear:0.2-0.8", [0.2, 0.35, 0.5, 0.65, 0.8]),
        ("linear:1-0", [1, 0.75, 0.5, 0.25, 0]),
        # (1 - cos(pi / 4)) / 2 = 0.1464
        ("cosine:0-1", [0, 0.146447, 0.5, 0.853553, 1]),
        # the change-over runs from 0.2 to 0.6 of the run: a quarter of it is 1/8 on the way
        ("three-stage:0.2-0.6", [0.2, 0.25, 0.5, 0.6, 0.6]),
        ("three-stage", [0.15, 0.225, 0.6, 0.75, 0.75]),
        ("source-share:0.05", [0.95] * 5),
    ],
)
def test_shares_worked_by_hand(target_shares, spec, wanted):
    assert target_shares(spec) == pytest.approx(wanted, abs=1e-6)


def test_a_run_of_one_step_takes_the_first_share(make, history, space):
    mixture = make("linear:0.2-0.8").propose(history(1, steps=1)).mixture_N
    assert space.coarsen(mixture)[1] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("linear:0.2", "linear:0.2 does not contain two target shares from 0 to 1"),
        ("linear:0.2-1.5", "write for example linear:0.2-0.8"),
        ("cosine:a-b", "cosine:a-b does not contain two"),
        ("three-stage:0.2", "write for example three-stage:0.2-0.8"),
        ("source-share:5%", "source-share:5% contains no share from 0 to 1"),
        ("source-share:1.2", "write for example source-share:0.05"),
        ("source-share:nan", "contains no share"),
        ("linear", "is not one of natural, .*did you mean 'linear:FROM-TO'"),
    ],
)
def test_what_schedules_refuse(make, spec, message):
    with pytest.raises(InputError, match=message):
        make(spec)
