"""The headroom study and the farm share their draws, and stored runs give their feedback back."""

from dataclasses import replace

import numpy as np
import pytest
from tests.training.comparison.runs.conftest import KINDS, OBJECTIVES, STEPS

from dmix.mixing.trajectories.feedback import load_feedback, write_feedback
from dmix.mixing.trajectories.store import read_set
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.data.tiers import DRAW_SEED, FRESH_SEED
from dmix.training.comparison.runs.headroom import (
    farm_draws,
    headroom_draws,
    noise_units,
    rerun_units,
    restore_feedback,
    restore_units,
)


def names(units):
    return [unit.trajectory or unit.controller for unit in units]


def test_every_trajectory_is_run_once_by_one_of_the_two(study):
    headroom, farm = headroom_draws(study), farm_draws(study)
    assert sorted(names(headroom)) == ["segments-0000", "segments-0001", "static-0000", "static-0001"]
    assert sorted(names(farm)) == ["inductive-1-0000", "segments-0002", "static-0002"]
    assert len(headroom + farm) == sum(KINDS.values())


def test_headroom_draws_share_a_seed_and_farm_draws_have_their_own(study):
    assert {(unit.seed, unit.variation) for unit in headroom_draws(study)} == {(DRAW_SEED, "")}
    seeds = [unit.seed for unit in farm_draws(study)]
    assert len(set(seeds)) == len(seeds) and DRAW_SEED not in seeds


@pytest.mark.parametrize(("share", "varied"), [(0.0, 0), (1.0, 3)])
def test_the_tier_says_how_many_proxies_of_the_farm_are_varied(study, share, varied):
    draws = farm_draws(replace(study, tier=replace(study.tier, varied=share)))
    assert sum(unit.variation != "" for unit in draws) == varied


def test_draws_go_round_the_base_models(study):
    settings = replace(study.loaded.settings, bases=2)
    two = replace(study, loaded=replace(study.loaded, settings=settings))
    assert {unit.base for unit in headroom_draws(two)} == {0, 1}
    assert [(unit.seed - FRESH_SEED, unit.base) for unit in noise_units(two)] == [
        (0, 0),
        (0, 1),
        (1, 0),
        (1, 1),
    ]


def test_the_best_of_each_kind_is_run_again_on_a_fresh_seed(study, finish):
    utilities = {"static-0000": 0.1, "static-0001": 0.3, "segments-0000": 0.5, "segments-0001": 0.2}
    assert rerun_units(study) == []
    for unit in headroom_draws(study):
        finish(unit, utilities[unit.controller])
    again = rerun_units(study)
    assert names(again) == ["static-0001", "segments-0000"]
    assert {(unit.part, unit.seed) for unit in again} == {("rerun", FRESH_SEED)}
    both = rerun_units(replace(study, tier=replace(study.tier, reruns=2, rerun_seeds=2)))
    assert names(both) == ["static-0001", "static-0000", "segments-0000", "segments-0001"] * 2


def test_feedback_of_finished_runs_comes_back_with_the_mixtures_they_trained_on(study, finish):
    first, second, third, _ = headroom_draws(study)
    finish(first)
    finish(second, status="failed")
    restore_units(study, [first, second, third], set_name=FARM)
    found = load_feedback(study.paths.warehouse, FARM)
    assert list(found.scores) == [first.trajectory] and found.objectives == OBJECTIVES
    assert found.scores[first.trajectory].tolist() == [[-2, -4], [-1, -5], [0, -6], [1, -7]]
    planned_TN = found.planned[first.trajectory]
    start_N = read_set(study.paths.warehouse, FARM).domain_space.start_N
    assert np.array_equal(planned_TN, [start_N, *[[0.25] * 4] * STEPS])


def test_feedback_that_is_there_is_left_as_it_is(study, finish):
    unit = headroom_draws(study)[0]
    finish(unit)
    scores_TD = np.full((STEPS + 1, 2), -9.0)
    write_feedback(
        study.paths.warehouse,
        set_name=FARM,
        trajectory_id=unit.trajectory,
        objectives=OBJECTIVES,
        scores_TD=scores_TD,
    )
    restore_units(study, [unit], set_name=FARM)
    assert np.array_equal(load_feedback(study.paths.warehouse, FARM).scores[unit.trajectory], scores_TD)


def test_a_farm_that_is_not_whole_publishes_no_scales(study, finish):
    for unit in headroom_draws(study):
        finish(unit)
    restore_feedback(study)
    folder = study.paths.warehouse.feedback(FARM)
    assert len(list(folder.glob("*.parquet"))) == 4
    assert not (folder / "environment.yaml").exists()
