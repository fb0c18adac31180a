"""The agents of the screening: a clone of the best trajectories, SFT and CQL, all from one farm."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from dmix.training.comparison.data.settings import said
from dmix.training.comparison.data.study_paths import FARM
from dmix.training.comparison.data.tiers import Tier
from dmix.warehouse_schema.files.layout import Warehouse

AGENTS = ("clone", "sft", "rl")


def agent_name(kind: str, seed: int) -> str:
    """Name of an agent in the warehouse."""
    return f"{kind}-{seed}"


def agent_recipe(name: str, tier: Tier) -> list[Any] | None:
    """What an agent of the screening is made by, beside the farm; None for an agent from elsewhere."""
    kind, _, number = name.rpartition("-")
    if kind not in AGENTS or not number.isdigit():
        return None
    return [kind, said(replace(_settings(kind, tier), seed=int(number)))]


def _settings(kind: str, tier: Tier) -> Any:
    return {"clone": tier.clone, "sft": tier.sft, "rl": tier.rl}[kind]


def make_agent(
    warehouse: Warehouse, kind: str, *, seed: int, tier: Tier, progress: Callable[[str], None]
) -> str:
    """Trains an agent on the farm, or finds it trained; returns its name.

    Args:
        warehouse: Holds the farm with its feedback.
        kind: `clone` (the best tenth of the farm), `sft`, or `rl` (CQL, from a clone).
        seed: Of weights and draws.
        tier: Says how agents are trained.
        progress: Receives lines for people.
    """
    name = agent_name(kind, seed)
    if (warehouse.agent(name) / "config.json").is_file():
        return name
    # Imported when needed: d3rlpy takes seconds, and most calls train no agent.
    from dmix.mixing.learning.clone import train_clone
    from dmix.mixing.learning.rl import train_rl
    from dmix.mixing.learning.sft import train_sft

    progress(f"training agent {name}")
    given: dict[str, Any] = {"set_name": FARM, "agent_name": name, "progress": progress}
    trainers: dict[str, Callable[..., Any]] = {"sft": train_sft, "clone": train_clone, "rl": train_rl}
    trainers[kind](warehouse, settings=replace(_settings(kind, tier), seed=seed), **given)
    return name
