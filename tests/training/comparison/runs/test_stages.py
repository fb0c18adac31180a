"""How many runs a stage has, and which, without a warehouse."""

from types import SimpleNamespace

import pytest

from dmix.training.comparison.data.tiers import WORLDS_SEED
from dmix.training.comparison.effects.world_plans import AGENT, COUNTS_PLAN, FRESH, NATURAL, PLAN
from dmix.training.comparison.runs.stages import batches, planned_runs, world_specs
from dmix.warehouse_schema.errors import InputError


def study(world=None, **tier):
    settings = SimpleNamespace(name="toy", protocol=3, world=world)
    return SimpleNamespace(loaded=SimpleNamespace(settings=settings), tier=SimpleNamespace(**tier), bases=[0])


def test_a_fitting_world_runs_each_mixture_once():
    specs = world_specs(study("fitting"))
    assert [(part, spec) for part, spec, _ in specs][:2] == [("world", NATURAL), ("world", PLAN)]
    assert len(specs) == 2 + FRESH and {seed for *_, seed in specs} == {WORLDS_SEED}


@pytest.mark.parametrize(
    ("kind", "names"),
    [("ladder", [NATURAL, COUNTS_PLAN, PLAN, AGENT]), ("held-out", [NATURAL, COUNTS_PLAN, AGENT])],
)
def test_a_world_that_judges_runs_each_controller_on_each_seed(kind, names):
    specs = world_specs(study(kind, world_seeds=2))
    assert [spec for _, spec, _ in specs] == names * 2
    assert [seed - WORLDS_SEED for *_, seed in specs] == [0] * len(names) + [1] * len(names)


def test_a_held_out_world_needs_to_be_in_the_protocol():
    named = SimpleNamespace(protocol=SimpleNamespace(settings=("other",)), sha256="0")
    for protocol in (None, named):
        with pytest.raises(InputError, match="does not name the held-out world 'toy'"):
            next(batches(study("held-out", world_seeds=2), "worlds", protocol=protocol))


def test_a_world_has_one_stage():
    assert planned_runs(study("held-out", world_seeds=4)) == {"worlds": 12}


def test_a_stage_of_another_protocol_is_refused_with_those_there_are():
    with pytest.raises(InputError, match=r"other stages: worlds \(protocol 3\);"):
        next(batches(study("fitting"), "farm", protocol=None))
