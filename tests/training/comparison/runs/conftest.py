"""The toy setting at the smoke tier with a farm made by hand: no text, no model, no run."""

import numpy as np
import pytest
from tests.manifests import trajectory_set

from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.training.comparison.data.settings import load_setting
from dmix.training.comparison.data.study_paths import FARM, StudyPaths
from dmix.training.comparison.data.tiers import TIERS
from dmix.training.comparison.runs.study import Study
from dmix.training.comparison.units.store import now, run_row, write_unit
from dmix.warehouse_schema.files.layout import publish_json

SPACE = (("source", "a"), ("source", "b"), ("target", "a"), ("target", "b"))
KINDS = {"static": 3, "segments": 3, "inductive": 1}
STEPS = 3
OBJECTIVES = ("essays", "problems")


def write_farm(warehouse):
    farm = trajectory_set(
        SPACE,
        (40, 30, 20, 10),
        steps=STEPS,
        set_name=FARM,
        dataset="run",
        settings={"seed": 0},
        step_samples=16,
    )
    publish_set(warehouse, farm)
    start_N = farm.domain_space.start_N
    for kind, count in KINDS.items():
        for number in range(count):
            top_k = 1 if kind == "inductive" else None
            name = f"{kind}-1-{number:04d}" if top_k else f"{kind}-{number:04d}"
            mixtures_TN = np.vstack([start_N, *[[0.1, 0.2, 0.3, 0.4]] * STEPS])
            write_trajectory(
                warehouse.trajectories(FARM),
                Trajectory(trajectory_id=name, kind=kind, top_k=top_k, mixtures_TN=mixtures_TN),
            )


@pytest.fixture
def study(toy_data, toy_setting, tmp_path):
    paths = StudyPaths.of("toy", work=tmp_path / "work", results=tmp_path / "results")
    write_farm(paths.warehouse)
    # so that U is the mean gain of the two objectives
    publish_json(paths.scales, dict.fromkeys((*OBJECTIVES, "other_problems"), 1.0))
    loaded = load_setting(str(toy_setting))
    return Study(paths=paths, loaded=loaded, tier=TIERS["smoke"], data=toy_data, progress=str)


@pytest.fixture
def finish(study):
    """Puts a unit on record: done with a utility on development items, or failed without one."""

    def put(unit, utility=0.0, *, status="done"):
        row = run_row(unit, status=status, started_at=now(), finished_at=now(), seconds=3600.0, commit="c")
        if status != "done":
            write_unit(study.paths, row)
            return
        items = [
            {
                "layer": "development",
                "objective": objective,
                "item_id": "i",
                "near_duplicate": False,
                "score": utility - 2.0,
                "base_score": -2.0,
            }
            for objective in OBJECTIVES
        ]
        steps = [
            {
                "step": step,
                "mixture": [0.25] * len(SPACE),
                "target_share": 0.5,
                "scores": [-2.0 + step, -4.0 - step],
            }
            for step in range(1, STEPS + 1)
        ]
        write_unit(study.paths, row | {"base_scores": [-2.0, -4.0]}, steps=steps, items=items)

    return put
