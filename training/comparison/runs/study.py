"""One setting at one tier, and how its units are made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmix.mixing.trajectories.store import Trajectory
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import FARM, StudyPaths
from dmix.training.comparison.data.tiers import Tier
from dmix.training.comparison.runs.facts import find_scales
from dmix.training.comparison.units.recipes import controller_recipe, study_inputs
from dmix.training.comparison.units.store import final_utilities, read_tables
from dmix.training.comparison.units.units import Unit

SELECTION_LAYER = "development"
"""Layer of items that choices between controllers are made on."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One setting at one tier.

    Attributes:
        paths: Where it is.
        loaded: The setting.
        tier: How much of it is run.
        data: Folder of corpora and items.
        progress: Receives lines for people.
    """

    paths: StudyPaths
    loaded: LoadedSetting
    tier: Tier
    data: Path
    progress: Callable[[str], None]

    @property
    def inputs(self) -> str:
        """Hash of the recipe that all runs of the study share."""
        return study_inputs(self.loaded, self.data)

    @property
    def bases(self) -> range:
        """Numbers of the base models."""
        return range(self.loaded.settings.bases)


def make_unit(study: Study, *, spec: str, base: int, **given: Any) -> Unit:
    """A unit of the study, with the hashes of its recipe."""
    return Unit(
        setting=study.loaded.settings.name,
        spec=spec,
        base=base,
        inputs=study.inputs,
        controller_inputs=controller_recipe(
            spec, loaded=study.loaded, tier=study.tier, warehouse=study.paths.warehouse
        ),
        **given,
    )


def trajectory_unit(study: Study, trajectory: Trajectory, /, **given: Any) -> Unit:
    """A unit that replays a trajectory of the farm."""
    return make_unit(
        study,
        kind="static" if trajectory.kind == "static" else "open_loop",
        controller=trajectory.trajectory_id,
        spec=f"replay:{FARM}/{trajectory.trajectory_id}",
        **given,
    )


def mean_utilities(study: Study, *, stage: str, part: str, kind: str) -> dict[str, float]:
    """Mean U on the selection layer over finished runs, by controller."""
    tables = read_tables(study.paths)
    finals = final_utilities(tables["items"], find_scales(study.paths, study.loaded, tables))
    values: dict[str, list[float]] = {}
    for row in tables["runs"]:
        if (row["stage"], row["part"], row["kind"], row["status"]) == (stage, part, kind, "done"):
            values.setdefault(row["controller"], []).append(finals[row["unit_id"], SELECTION_LAYER])
    return {name: float(np.mean(found)) for name, found in values.items()}
