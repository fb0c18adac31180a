"""`setting.json` of the results, and the scales s_i that turn scores into utility."""

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.trajectories.feedback import farm_scales
from dmix.mixing.trajectories.objectives import load_environment
from dmix.training.comparison.data.prepare import RUN_DATASET
from dmix.training.comparison.data.settings import LoadedSetting
from dmix.training.comparison.data.study_paths import FARM, StudyPaths
from dmix.training.comparison.data.written_source import written_source
from dmix.training.comparison.units.store import Row, Scales
from dmix.warehouse_schema.files.layout import publish_json, read_json
from dmix.warehouse_schema.files.manifests import read_dataset_manifest
from dmix.warehouse_schema.taxonomy import FIELDS


def find_scales(paths: StudyPaths, loaded: LoadedSetting, tables: Mapping[str, list[Row]]) -> Scales:
    """s_i of every objective: published ones, or else from the runs that there are.

    s_i is the standard deviation of the feedback scores over all steps of the farm. Objectives that
    have no feedback items, and so weight 0, get that of the final scores of the farm's runs.
    """
    objectives = loaded.settings.objectives
    weight = {o.name: 1.0 if o.weight is None else o.weight for o in objectives}
    names = [objective.name for objective in loaded.settings.in_layer("feedback")]
    published = paths.warehouse.feedback(FARM) / "environment.yaml"
    scale = dict.fromkeys((o.name for o in objectives), 1.0)
    drawn = {
        row["unit_id"]: row for row in tables["runs"] if row["part"] == "draw" and row["status"] == "done"
    }
    if published.is_file():
        scale |= load_environment(published).scales
    elif drawn:
        steps: dict[str, list[list[float]]] = {unit: [row["base_scores"]] for unit, row in drawn.items()}
        for row in tables["steps"]:
            if row["unit_id"] in steps:
                steps[row["unit_id"]].append(row["scores"])
        scores = [np.array(rows) for rows in steps.values()]
        scale |= dict(zip(names, farm_scales(scores, objectives=names).tolist(), strict=True))
    others = [objective.name for objective in objectives if objective.name not in names]
    scale |= _final_deviations(tables["items"], others, set(drawn))
    if paths.scales.is_file():  # of a world
        scale |= read_json(paths.scales)
    known = published.is_file() or paths.scales.is_file()
    return Scales(scale=scale, weight=weight, published=known)


def space_of_facts(facts: Mapping[str, Any]) -> DomainSpace:
    """The domains of a setting, from its `setting.json`."""
    labels = tuple(label for field, label in facts["space"] if field == FIELDS[0])
    return DomainSpace(labels, np.array(facts["samples"], np.int64))


def _final_deviations(items: Iterable[Row], names: list[str], units: set[str]) -> dict[str, float]:
    """Standard deviation over units of the mean item score of each objective, where it is above 0."""
    sums: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for row in items:
        if row["objective"] in sums and row["unit_id"] in units:
            sums[row["objective"]].setdefault(row["unit_id"], []).append(row["score"])
    found = {
        name: float(np.std([np.mean(s) for s in of.values()])) for name, of in sums.items() if len(of) > 1
    }
    return {name: deviation for name, deviation in found.items() if deviation > 0}


@dataclass(frozen=True)
class Finalists:
    """The pair that the confirmation compares.

    Attributes:
        agent: Name of the agent's controller.
        rival: Name of the other one.
    """

    agent: str
    rival: str


def write_facts(
    paths: StudyPaths,
    loaded: LoadedSetting,
    scales: Scales,
    *,
    tier: str,
    planned: Mapping[str, int],
    finalists: Finalists | None,
    promised: bool,
) -> None:
    """Publishes `setting.json`.

    Args:
        paths: Where to.
        loaded: The setting.
        scales: s_i and lambda_i.
        tier: Name of the tier.
        planned: Runs by stage when all goes well.
        finalists: What a confirmation compares; None before the screening is done.
        promised: Whether the protocol names the setting.
    """
    settings = loaded.settings
    manifest = read_dataset_manifest(paths.warehouse, RUN_DATASET)
    space = DomainSpace.of_dataset(manifest)
    near = read_json(paths.near_duplicates)
    facts: dict[str, Any] = {
        "setting": settings.name,
        "title": settings.title,
        "tier": tier,
        "protocol": settings.protocol,
        "digest": loaded.digest,
        "dataset": manifest.dataset,
        "space": [list(pair) for pair in space.names],
        "samples": space.samples_N.tolist(),
        "steps": settings.steps,
        "step_samples": settings.samples_per_step,
        "seq_len": settings.seq_len,
        "max_passes": settings.max_passes,
        "objectives": [
            {
                "name": objective.name,
                "role": objective.role,
                "weight": scales.weight[objective.name],
                "scale": scales.scale[objective.name],
                "origin": objective.origin,
                "layers": list(settings.layers_of(objective)),
                "licence": objective.licence,
            }
            for objective in settings.objectives
        ],
        "scales": "published" if scales.published else "provisional",
        "layers": {layer: [o.name for o in settings.in_layer(layer)] for layer in settings.layers},
        "items": settings.items,
        "near_duplicates": {"threshold": near["threshold"], "flagged": len(near["flagged"])},
        "planned": dict(planned),
        "promised": promised,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
    }
    written = written_source(paths.warehouse, manifest)
    if written is not None:
        facts["written_source"] = written
    if finalists is not None:
        facts["hypothesis"] = {"agent": finalists.agent, "rival": finalists.rival}
    publish_json(paths.facts, facts)
