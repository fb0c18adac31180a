"""Recipes: what decides the result of a unit, known before anything is prepared.

A recipe is made of the data files' bytes, of what setting files say, of numbers of the tier and of seeds.
It is the same on every machine, while weights, and with them anything made of weights, are not.
Results of earlier rounds were named by hashes of weights; `recipes.json` beside their tables says
which unit each of them is today.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dmix.mixing.agent.folders import agent_folder
from dmix.training.comparison.data.prepare import farm_settings
from dmix.training.comparison.data.settings import LoadedSetting, said
from dmix.training.comparison.data.study_paths import FARM, PAPER, StudyPaths
from dmix.training.comparison.data.text import corpus_files
from dmix.training.comparison.data.tiers import Tier
from dmix.training.comparison.effects.world_plans import (
    COUNTS_PLAN,
    FITTING,
    NATURAL,
    PLAIN,
    PLAN,
    WorldPriors,
    priors_file,
    read_priors,
)
from dmix.training.comparison.rivals.cells import VERSION as CELLS_VERSION
from dmix.training.comparison.units.agents import agent_recipe
from dmix.training.comparison.units.units import FORMAT, Unit
from dmix.warehouse_schema.errors import NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse
from dmix.warehouse_schema.files.manifest_json import digest_of

Row = dict[str, Any]


def study_inputs(loaded: LoadedSetting, data: Path) -> str:
    """Hash of the recipe that all runs of a setting share.

    Args:
        loaded: The setting.
        data: Folder of corpora and items.

    Raises:
        NotFoundError: If a file does not exist.
    """
    settings = loaded.settings
    files = [*corpus_files(data, settings.source).values(), *corpus_files(data, settings.target).values()]
    files += [data / objective.path for objective in settings.objectives if objective.path is not None]
    return digest_of([FORMAT, loaded.digest, _data_hash(data, tuple(files))])


def controller_recipe(spec: str, *, loaded: LoadedSetting, tier: Tier, warehouse: Warehouse) -> str:
    """Hash of the recipe of a controller; empty for one that the spec says all of.

    Args:
        spec: As `make_controller` takes it.
        loaded: The setting.
        tier: Says how farm and agents are made.
        warehouse: Where agents that others made are looked for.
    """
    kind, _, argument = spec.partition(":")
    if kind == "cell":
        # what a cell follows is found by runs whose recipes follow from setting and tier
        return digest_of(["cell", argument, CELLS_VERSION, tier.design, tier.grid])
    if kind in ("check", "rung"):
        # what they follow is counted in the world, or found by its checks and probes
        return digest_of([kind, argument, PLAIN.digest(COUNTS_PLAN), world_priors(loaded).digest(PLAN)])
    farm = said(farm_settings(loaded, tier))
    if argument.partition("/")[0] == PAPER or argument.startswith(f"{PAPER}-"):
        # which the settings of its set and of its agents follow from
        return digest_of([PAPER, farm, tier.paper_paths, said(tier.sft), said(tier.rl), argument])
    if kind == "world":
        # natural mixing follows from the setting; plan and agent from what other worlds taught as well
        if argument == NATURAL:
            return ""
        priors = PLAIN if argument == COUNTS_PLAN else world_priors(loaded)
        return digest_of(["world", argument, priors.digest(argument)])
    if kind == "replay":
        return digest_of(["replay", farm, argument])
    if kind == "agent":
        made_here = agent_recipe(argument, tier)
        if made_here is not None:
            return digest_of([made_here, farm])
        # it comes with dmix, or from another warehouse: its bytes are what was chosen
        weights = agent_folder(warehouse, argument) / "model.safetensors"
        return hashlib.sha256(weights.read_bytes()).hexdigest()
    return digest_of([kind, farm]) if argument.partition("/")[0] == FARM else ""


def unit_of_row(row: Row, *, loaded: LoadedSetting, tier: Tier, inputs: str, warehouse: Warehouse) -> Unit:
    """The unit that would be run today in place of a stored one."""
    unit = Unit(**json.loads(row["spec"]))
    made = controller_recipe(unit.spec, loaded=loaded, tier=tier, warehouse=warehouse)
    return replace(unit, inputs=inputs, controller_inputs=made)


def renamed_units(
    rows: Iterable[Row], *, loaded: LoadedSetting, tier: Tier, inputs: str, warehouse: Warehouse
) -> dict[str, str]:
    """Names of today by the names that finished rows have; a recipe that was run twice counts once."""
    found: dict[str, str] = {}
    for row in rows:
        if row["status"] != "done":
            continue
        unit = unit_of_row(row, loaded=loaded, tier=tier, inputs=inputs, warehouse=warehouse)
        if unit.unit_id not in found.values():
            found[row["unit_id"]] = unit.unit_id
    return found


def current_rows(
    rows: Sequence[Row], *, loaded: LoadedSetting, tier: Tier, inputs: str | None, paths: StudyPaths
) -> list[Row]:
    """The rows whose recipe is still that of the setting, the data and the tier; all if `inputs` is None."""
    if inputs is None:
        return list(rows)
    found = []
    for row in rows:
        try:
            unit = unit_of_row(row, loaded=loaded, tier=tier, inputs=inputs, warehouse=paths.warehouse)
        except (NotFoundError, TypeError):  # an agent that is gone, or a unit of a form that is
            continue
        if unit.unit_id == row["unit_id"]:
            found.append(row)
    return found


def world_priors(loaded: LoadedSetting) -> WorldPriors:
    """What steers the runs of a world: nothing learnt in fitting ones, a file beside the others.

    Raises:
        NotFoundError: If that world has no priors yet.
    """
    kind = loaded.settings.world or FITTING
    return PLAIN if kind == FITTING else read_priors(priors_file(loaded.file, kind))


@functools.cache
def _data_hash(data: Path, files: tuple[Path, ...]) -> str:
    """Hash of names and bytes of data files."""
    found = hashlib.sha256()
    for file in sorted(set(files)):
        if not file.is_file():
            raise NotFoundError(f"{file} does not exist; give the data folder with --data")
        found.update(str(file.relative_to(data)).encode() + b"\0")
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
