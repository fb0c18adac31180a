"""Units of the stages of the third protocol that lead to the confirmation."""

import dataclasses
import types

import pytest
from tests.training.comparison.rivals.cell_rows import BASES, PROTOCOL, SETTINGS, SPACE

from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.rivals.cells import ONLINE
from dmix.training.comparison.runs import rival_stages
from dmix.training.comparison.runs.protocol import CommittedProtocol
from dmix.warehouse_schema.errors import InputError


@pytest.fixture
def study(monkeypatch):
    """A study that names units without data."""
    monkeypatch.setattr(rival_stages, "make_unit", lambda study, **given: types.SimpleNamespace(**given))
    loaded = types.SimpleNamespace(settings=SETTINGS)
    return types.SimpleNamespace(tier=tier_named("small"), bases=range(BASES), loaded=loaded, inputs="i")


def test_every_run_is_planned_once_and_spread_over_the_base_models(study):
    units = rival_stages.rival_units(study, SPACE)
    own = [unit for unit in units if unit.stage == "rivals"]
    probes = sum(unit.stage == "probes" for unit in units)
    assert len(own) == rival_stages.planned_rivals(study, probes=probes)["rivals"]
    assert len({(unit.spec, unit.base, unit.seed) for unit in units}) == len(units)
    design = [unit for unit in units if unit.part == "design"]
    assert len(design) == 52 and {unit.base for unit in design} == set(range(BASES))
    assert {unit.base for unit in units if unit.part == "probe"} == set(range(BASES))


def test_each_online_rival_is_tried_on_the_base_models_of_the_yardstick(study, monkeypatch):
    monkeypatch.setattr(rival_stages, "read_plans", lambda paths: object())
    study.paths = None
    units = rival_stages.online_units(study, SPACE)
    assert [(unit.controller, unit.base) for unit in units] == [(name, b) for name in ONLINE for b in (0, 1)]


def test_a_setting_that_the_protocol_does_not_name_is_refused(study):
    committed = CommittedProtocol(dataclasses.replace(PROTOCOL, settings=("other",)), "sha")
    with pytest.raises(InputError, match="not 's'"):
        rival_stages.cell_units(study, SPACE, committed)


def test_a_confirmation_before_the_rivals_have_learnt_is_refused(study, monkeypatch):
    monkeypatch.setattr(rival_stages, "missing_units", lambda units, paths: units[:3])
    study.paths = None
    with pytest.raises(InputError, match="3 runs of the stage rivals left; run --stage rivals first"):
        rival_stages.cell_units(study, SPACE, CommittedProtocol(PROTOCOL, "sha"))
