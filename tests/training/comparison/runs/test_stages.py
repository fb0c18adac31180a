"""How many runs a stage has, and which, without a warehouse."""

from types import SimpleNamespace

import pytest

from dmix.training.comparison.data.tiers import WORLDS_SEED
from dmix.training.comparison.effects.world_plans import AGENT, FRESH, NATURAL, PLAN
from dmix.training.comparison.runs.stages import batches, planned_runs, world_specs
from dmix.warehouse_schema.errors import InputError


def study(world=None, **tier):
    settings = SimpleNamespace(name="toy", protocol=3, world=world)
    return SimpleNamespace(loaded=SimpleNamespace(settings=settings), tier=SimpleNamespace(**tier), bases=[0])


def test_a_fitting_world_runs_each_mixture_once():
    specs = world_specs(study("fitting"))
    assert [(part, spec) for part, spec, _ in specs][:2] == [("world", NATURAL), ("world", PLAN)]
    assert len(specs) == 2 + FRESH and {seed for *_, seed in specs} == {WORLDS_SEED}


def test_a_held_out_world_runs_three_controllers_on_each_seed():
    specs = world_specs(study("held-out", world_seeds=2))
    assert [spec for _, spec, _ in specs] == [NATURAL, PLAN, AGENT] * 2
    assert [seed - WORLDS_SEED for *_, seed in specs] == [0, 0, 0, 1, 1, 1]


def test_a_world_has_one_stage():
    assert planned_runs(study("held-out", world_seeds=4)) == {"worlds": 12}


def test_a_stage_of_another_protocol_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"other stages: worlds \(protocol 3\);"):
        next(batches(study("fitting"), "farm", protocol=None))
