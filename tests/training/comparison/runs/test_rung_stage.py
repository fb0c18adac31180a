"""Units of the stage that adds steps to the ladder."""

import dataclasses
import types

import pytest
from tests.training.comparison.rivals.cell_rows import SETTINGS, SPACE

from dmix.mixing.effects.settings import CHECK_NATURAL, CHECK_PULLS
from dmix.training.comparison.data.tiers import tier_named
from dmix.training.comparison.effects.design import HEARD, setting_probes
from dmix.training.comparison.runs import rival_stages, rung_stage


@pytest.fixture
def study(monkeypatch):
    """A study of a world that names units without data."""
    for module in (rung_stage, rival_stages):
        monkeypatch.setattr(module, "make_unit", lambda study, **given: types.SimpleNamespace(**given))
    settings = dataclasses.replace(SETTINGS, world="ladder", run_base=3)
    loaded = types.SimpleNamespace(settings=settings)
    return types.SimpleNamespace(tier=tier_named("small"), loaded=loaded)


def test_checks_and_probes_come_first_and_see_no_item_that_judges(study, monkeypatch):
    made = []
    monkeypatch.setattr(rung_stage, "_write_plans", lambda study, space: made.append(space))
    first, second = rung_stage.rung_batches(study, SPACE)
    assert made == [SPACE] and {unit.part for unit in first} <= set(HEARD)
    assert {unit.base for unit in [*first, *second]} == {3}
    checks = [unit for unit in first if unit.part == "check"]
    assert len(checks) == len(CHECK_PULLS) + CHECK_NATURAL
    assert len({(unit.spec, unit.seed) for unit in checks}) == len(checks)
    probes = len(setting_probes(study.loaded.settings, SPACE))
    assert len(first) + len(second) == rung_stage.planned_rungs(study, probes=probes)
    assert [(unit.controller, unit.part) for unit in second[:2]] == [
        ("checked-plan", "rung"),
        ("probed-plan", "rung"),
    ]
