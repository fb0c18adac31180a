"""Units of a study, and the mean utilities that choices are made by."""

from dataclasses import replace

import pytest

from dmix.mixing.trajectories.store import read_trajectories
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.runs.study import make_unit, mean_utilities, trajectory_unit


def unit_of(study, *, spec="natural", seed=1, controller="natural"):
    return make_unit(
        study,
        stage="screening",
        part="controller",
        kind="controller",
        controller=controller,
        spec=spec,
        seed=seed,
        base=0,
    )


def test_a_unit_has_the_hashes_of_its_recipe(study):
    natural, clone = unit_of(study), unit_of(study, spec="agent:clone-0")
    assert natural.inputs == clone.inputs == study.inputs
    assert natural.controller_inputs == "" != clone.controller_inputs
    assert (natural.setting, natural.base) == ("toy", 0)


def test_a_trajectory_is_replayed_under_its_own_name(study):
    kinds = {
        unit.controller: (unit.kind, unit.spec)
        for trajectory in read_trajectories(study.paths.warehouse, FARM)
        for unit in [trajectory_unit(study, trajectory, stage="farm", part="draw", seed=0, base=0)]
    }
    assert kinds["static-0001"] == ("static", "replay:farm/static-0001")
    assert kinds["segments-0000"] == ("open_loop", "replay:farm/segments-0000")
    assert kinds["inductive-1-0000"][0] == "open_loop"


def test_utilities_are_means_over_finished_runs_of_the_part_alone(study, finish):
    for seed, utility in ((1, 0.5), (2, 1.5)):
        finish(unit_of(study, seed=seed), utility)
    finish(unit_of(study, seed=3), status="failed")
    finish(replace(unit_of(study, seed=4), part="noise"), 9.0)
    finish(replace(unit_of(study, seed=5), stage="confirmation"), 9.0)
    found = mean_utilities(study, stage="screening", part="controller", kind="controller")
    assert found == {"natural": pytest.approx(1.0)}
    assert mean_utilities(study, stage="screening", part="rerun", kind="controller") == {}


def test_base_models_are_numbered_from_zero(study):
    settings = replace(study.loaded.settings, bases=2)
    assert list(replace(study, loaded=replace(study.loaded, settings=settings)).bases) == [0, 1]
