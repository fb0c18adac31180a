"""RegMix: the constant mixture that a regression finds best."""

import numpy as np
import pytest
from tests.mixing.controllers.scored_farm import (
    SPACE,
    STEPS,
    WANTED,
    mixtures_of,
    near_wanted,
    scored_farm,
)

from dmix.mixing.controllers.registry import check_controller
from dmix.mixing.regression.farm_runs import load_farm_runs
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import read_feedback, write_feedback
from dmix.warehouse_schema.errors import InputError, NotFoundError

farm = scored_farm


def test_regmix_finds_the_best_constant_mixture(farm):
    found = mixtures_of("regmix:set", farm(near_wanted, static=40))
    assert np.ptp(found, axis=0).max() == 0
    assert 0.5 * np.abs(found[0] - WANTED).sum() < 0.1


def test_regmix_keeps_its_fit_until_the_set_grows(farm, monkeypatch):
    warehouse = farm(near_wanted, static=10)
    first = mixtures_of("regmix:set/exponential", warehouse)
    monkeypatch.setattr("dmix.mixing.controllers.regmix.regressor", lambda name: None)
    assert np.array_equal(mixtures_of("regmix:set/exponential", warehouse), first)
    farm(near_wanted, static=11)
    with pytest.raises(TypeError):
        mixtures_of("regmix:set/exponential", warehouse)


def test_regressors_leave_out_proxies_that_departed_from_the_usual_one(farm):
    warehouse = farm(near_wanted, static=10)
    whole = load_farm_runs(warehouse, "set")
    for name in ("static-0000", "static-0003", "static-0004"):
        write_feedback(
            warehouse,
            set_name="set",
            trajectory_id=name,
            objectives=("x",),
            scores_TD=read_feedback(warehouse, "set")[name],
            variation="width*0.5",
        )
    usual = load_farm_runs(warehouse, "set")
    names = [trajectory.trajectory_id for trajectory in usual.trajectories]
    assert (len(whole.trajectories), len(usual.changes()[0])) == (10, 7 * STEPS)
    assert names == [f"static-{number:04d}" for number in (1, 2, 5, 6, 7, 8, 9)]
    with pytest.raises(InputError, match="has 7 constant runs"):
        mixtures_of("regmix:set", warehouse)


def test_regmix_serves_another_dataset_of_the_same_domains(farm):
    other = DomainSpace(SPACE.labels, np.array([10, 10, 0, 10]))
    found = mixtures_of("regmix:set", farm(near_wanted, static=20), space=other)
    assert found[0][2] == 0


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("regmix:none", NotFoundError, "set 'none' is not in"),
        ("regmix:set/ridge", InputError, "regressor 'ridge', expected one of gaussian-process"),
        (
            "regmix:set",
            InputError,
            "has 7 constant runs of the default proxy with feedback, expected at least 8",
        ),
    ],
)
def test_what_regmix_refuses(farm, spec, error, message):
    with pytest.raises(error, match=message):
        check_controller(spec, warehouse=farm(near_wanted, static=7), space=SPACE)
