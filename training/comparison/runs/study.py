"""One setting at one tier, and how its units are made."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dmix.mixing.agent.folders import agent_folder
from dmix.mixing.trajectories.store import Trajectory, trajectory_file
from dmix.training.comparison.data.prepare import RUN_DATASET, base_name
from dmix.training.comparison.data.settings import LAYERS, LoadedSetting
from dmix.training.comparison.data.study_paths import FARM, Place
from dmix.training.comparison.data.tiers import Tier
from dmix.training.comparison.runs.facts import find_scales
from dmix.training.comparison.runs.store import final_utilities, read_tables
from dmix.training.comparison.runs.units import Unit
from dmix.warehouse_schema.files.manifests import digest_of, read_dataset_manifest

SELECTION_LAYER = "development"
"""Layer of items that choices between controllers are made on."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """One setting at one tier.

    Attributes:
        place: Where it is.
        loaded: The setting.
        tier: How much of it is run.
        progress: Receives lines for people.
    """

    place: Place
    loaded: LoadedSetting
    tier: Tier
    progress: Callable[[str], None]

    @property
    def bases(self) -> range:
        """Numbers of the base models."""
        return range(self.loaded.settings.bases)


def make_unit(study: Study, *, spec: str, base: int, **given: Any) -> Unit:
    """A unit of the study, with the hashes of what decides its result."""
    return Unit(
        setting=study.loaded.settings.name,
        spec=spec,
        base=base,
        inputs=_inputs(study, base),
        controller_inputs=_controller_inputs(study, spec),
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
    tables = read_tables(study.place)
    finals = final_utilities(tables["items"], find_scales(study.place, study.loaded, tables))
    values: dict[str, list[float]] = {}
    for row in tables["runs"]:
        if (row["stage"], row["part"], row["kind"], row["status"]) == (stage, part, kind, "done"):
            values.setdefault(row["controller"], []).append(finals[row["unit_id"], SELECTION_LAYER])
    return {name: float(np.mean(found)) for name, found in values.items()}


def _inputs(study: Study, base: int) -> str:
    """Hash of what every run on a base model depends on."""
    warehouse = study.place.warehouse
    files = [warehouse.model(base_name(base)) / "model.safetensors"]
    files += [
        study.place.items(layer, objective.name)
        for layer in LAYERS
        for objective in study.loaded.settings.in_layer(layer)
    ]
    dataset = read_dataset_manifest(warehouse, RUN_DATASET).dataset
    return digest_of([study.loaded.digest, dataset, _file_hash(files)])


def _controller_inputs(study: Study, spec: str) -> str:
    """Hash of the files that a controller is made from; empty for one that needs none."""
    warehouse = study.place.warehouse
    kind, _, argument = spec.partition(":")
    set_name, _, trajectory = argument.partition("/")
    if kind == "replay":
        return _file_hash([trajectory_file(warehouse.trajectories(set_name), trajectory)])
    if kind == "agent":
        return _file_hash([agent_folder(warehouse, argument) / "model.safetensors"])
    if set_name == FARM:
        return _file_hash(sorted(warehouse.feedback(FARM).glob("*.parquet")))
    return ""


def _file_hash(files: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()
