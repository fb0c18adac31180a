"""Who is screened, who is confirmed, and what has to be done before."""

from dataclasses import replace

import pytest

from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.data.tiers import SCREENING_SEED
from dmix.training.comparison.runs.headroom import headroom_draws, rerun_units
from dmix.training.comparison.runs.protocol import CommittedProtocol, Protocol
from dmix.training.comparison.runs.trials import (
    confirmation_units,
    finalists,
    make_agents,
    screening_runs,
    screening_units,
    shown_name,
)
from dmix.warehouse_schema.errors import InputError
from dmix.warehouse_schema.files.layout import publish_bytes


def with_tier(study, **changes):
    return replace(study, tier=replace(study.tier, **changes))


def collected(study):
    environment = b"objectives:\n- {name: essays, role: general, kind: qa, path: essays.jsonl}\n"
    publish_bytes(study.paths.warehouse.feedback(FARM) / "environment.yaml", environment)
    return study


@pytest.fixture
def screened(study, finish):
    """A study whose screening of three controllers is done."""
    study = collected(with_tier(study, controllers=("natural", "naive", "rl"), beside=("sft",)))
    utilities = {"natural": 0.2, "naive": 0.1, "rl": 0.0, "sft": 0.9}
    for unit in screening_units(study):
        finish(unit, utilities[unit.controller])
    return study


def protocol(**changes):
    given = {
        "settings": ("toy",),
        "hypothesis": "h",
        "agent": "rl",
        "seeds": 2,
        "first_seed": 5_000,
        "analysis": "a",
    }
    return CommittedProtocol(Protocol(**given | changes), "f00d")


def test_the_screening_waits_for_the_farm(study):
    with pytest.raises(InputError, match="run --stage farm first"):
        screening_units(study)


def test_a_best_mixture_waits_for_the_headroom_study_and_then_is_its_best_rerun(study, finish):
    collected(study)
    with pytest.raises(InputError, match=r"best-static .*--stage headroom"):
        screening_units(study)
    for number, unit in enumerate(headroom_draws(study)):
        finish(unit, float(number))
    for unit in rerun_units(study):
        finish(unit)
    specs = {unit.controller: unit.spec for unit in screening_units(study)}
    best = next(unit.trajectory or unit.controller for unit in rerun_units(study) if unit.kind == "static")
    assert specs["best-static"] == f"replay:farm/{best}"
    assert (specs["rl"], specs["natural"]) == ("agent:rl-0", "natural")


def test_the_screening_goes_seed_by_seed_and_agents_have_seeds_of_their_own(study):
    tier = {"controllers": ("natural", "clone"), "screening_seeds": 2, "agent_seeds": 3}
    study = collected(with_tier(study, **tier))
    units = screening_units(study)
    assert [unit.seed - SCREENING_SEED for unit in units] == [0] * 4 + [1] * 4
    assert [(unit.controller, unit.agent_seed) for unit in units[:4]] == [
        ("natural", 0),
        ("clone", 0),
        ("clone", 1),
        ("clone", 2),
    ]
    assert screening_runs(study) == len(units) == 8


def test_the_price_of_a_controller_is_the_proxies_that_it_learnt_from(study):
    study = collected(with_tier(study, controllers=("natural", "clone", f"regmix:{FARM}", f"gp:{FARM}")))
    tokens = {unit.controller: unit.proxy_tokens for unit in screening_units(study)}
    run = 3 * 16 * 128
    # seven trajectories in all, three of them static
    assert tokens == {"natural": 0, "clone": 7 * run, "regmix": 3 * run, "gp": 7 * run}


def test_the_set_of_a_controller_is_not_shown():
    assert (shown_name(f"regmix:{FARM}"), shown_name("agent:x")) == ("regmix", "agent:x")


def test_the_rival_is_the_best_controller_that_is_no_guest(screened):
    found = finalists(screened, agent="rl")
    assert (found.agent, found.rival) == ("rl", "natural")
    assert finalists(with_tier(screened, screening_seeds=2), agent="rl") is None
    with pytest.raises(InputError, match="'gpt', expected an agent of the screening: natural, naive, rl"):
        finalists(screened, agent="gpt")


def test_the_confirmation_runs_both_finalists_on_the_seeds_of_the_protocol(screened):
    units = confirmation_units(screened, protocol())
    assert [(unit.seed, unit.controller) for unit in units] == [
        (5_000, "rl"),
        (5_000, "natural"),
        (5_001, "rl"),
        (5_001, "natural"),
    ]
    assert {(unit.stage, unit.protocol_sha256) for unit in units} == {("confirmation", "f00d")}


def test_the_confirmation_needs_its_setting_in_the_protocol_and_the_screening(screened):
    with pytest.raises(InputError, match="settings law, but not 'toy'"):
        confirmation_units(screened, protocol(settings=("law",)))
    with pytest.raises(InputError, match="run --stage screening first"):
        confirmation_units(with_tier(screened, screening_seeds=2), protocol())


def test_agents_are_trained_only_for_units_that_are_to_be_run(screened, monkeypatch):
    made = []
    monkeypatch.setattr(
        "dmix.training.comparison.runs.trials.make_agent",
        lambda warehouse, kind, *, seed, **_: made.append((kind, seed)),
    )
    units = screening_units(screened)
    make_agents(screened, [unit for unit in units if unit.controller == "natural"])
    assert made == []
    make_agents(screened, units)
    assert made == [("sft", 0), ("rl", 0)]
