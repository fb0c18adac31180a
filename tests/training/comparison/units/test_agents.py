"""Agents of the screening: known by kind and seed, and trained once."""

import pytest

from dmix.training.comparison.data.tiers import TIERS
from dmix.training.comparison.units.agents import AGENTS, agent_name, agent_recipe, make_agent
from dmix.warehouse_schema.files.layout import Warehouse, publish_json

SMOKE = TIERS["smoke"]


def test_the_recipe_of_an_agent_is_its_settings_and_its_seed():
    kind, said = agent_recipe("sft-3", SMOKE)
    assert kind == "sft" and said["seed"] == 3 and said["epochs"] == SMOKE.sft.epochs
    assert agent_recipe("sft-3", SMOKE) != agent_recipe("sft-4", SMOKE)
    assert agent_recipe("rl-0", SMOKE) != agent_recipe("rl-0", TIERS["small"])


@pytest.mark.parametrize("name", ["dmix-base", "sft", "sft-x", "ppo-0"])
def test_an_agent_from_elsewhere_has_no_recipe(name):
    assert agent_recipe(name, SMOKE) is None


@pytest.mark.parametrize("kind", AGENTS)
def test_an_agent_is_trained_by_the_method_of_its_kind(kind, tmp_path, monkeypatch):
    made = []
    for trainer in AGENTS:
        monkeypatch.setattr(
            f"dmix.mixing.learning.{trainer}.train_{trainer}",
            lambda warehouse, *, settings, agent_name, trainer=trainer, **_: made.append(
                (trainer, agent_name, settings.seed)
            ),
        )
    assert make_agent(Warehouse.at(tmp_path), kind, seed=2, tier=SMOKE, progress=str) == f"{kind}-2"
    assert made == [(kind, f"{kind}-2", 2)]


def test_an_agent_that_is_there_is_not_trained_again(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    publish_json(warehouse.agent(agent_name("rl", 0)) / "config.json", {})
    assert make_agent(warehouse, "rl", seed=0, tier=SMOKE, progress=pytest.fail) == "rl-0"
