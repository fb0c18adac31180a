"""A small domain space, histories over it, and a warehouse with a farm and an agent."""

import json

import numpy as np
import pytest
import torch
from tests.manifests import trajectory_set

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import publish_agent
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.objectives import load_environment, write_environment
from dmix.mixing.trajectories.store import Trajectory, publish_set, write_trajectory
from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture(scope="session")
def space():
    """Three active domains of four: natural shares .3, 0, .5, .2."""
    return DomainSpace(("News", "Law"), np.array([30, 0, 50, 20]))


@pytest.fixture(scope="session")
def history(space):
    """Makes the history before step `step`, or after the mixtures, losses and counts given."""

    def make(step=1, *, mixtures=(), losses=None, counts=None, **changes):
        rows = np.array([space.start_N, *mixtures]) if len(mixtures) else np.tile(space.start_N, (step, 1))
        row = [np.full(len(space), np.nan)]
        given = {
            "space": space,
            "mixtures_TN": rows,
            "feedback_TD": np.full((len(rows), 1), -3.0),
            "objectives": ("x",),
            "weights_D": np.ones(1),
            "scales_D": np.ones(1),
            "steps": 5,
            "step_samples": 20,
            "remaining_samples_N": space.samples_N,
            "seed": 0,
        }
        if losses is not None:
            given["losses_TN"] = np.array([*row, *losses], float)
        if counts is not None:
            given["counts_TN"] = np.array([np.zeros(len(space)), *counts], np.int64)
        return History(**{**given, **changes})

    return make


@pytest.fixture(scope="session")
def farm_warehouse(tmp_path_factory, space):
    """Three trajectories with feedback on `x`, of which the second ends best, and an agent of that set."""
    warehouse = Warehouse.at(tmp_path_factory.mktemp("farm") / "warehouse")
    publish_set(
        warehouse,
        trajectory_set(space.names, (30, 0, 50, 20), steps=3, set_name="farm"),
    )
    for number, share in enumerate((0.2, 0.5, 0.8)):
        name = f"static-{number:04d}"
        mixtures = np.array([space.start_N, *[space.expand(np.array([1 - share, share]))] * 3])
        write_trajectory(
            warehouse.trajectories("farm"),
            Trajectory(trajectory_id=name, kind="static", top_k=None, mixtures_TN=mixtures),
        )
        ends = ([-3, -2.9, -2.8, -2.8], [-3, -2.5, -2.0, np.nan], [-3, -2.9, -2.6, -2.1])[number]
        scores = np.array(ends)[:, None]
        write_feedback(warehouse, set_name="farm", trajectory_id=name, objectives=("x",), scores_TD=scores)
    folder = warehouse.root / "items"
    folder.mkdir()
    (folder / "x.jsonl").write_text(json.dumps({"id": "1", "text": "abcd"}) + "\n")
    (folder / "environment.yaml").write_text(
        "objectives:\n- {name: x, role: target, kind: continuation, path: x.jsonl}\nscales: {x: 0.5}\n"
    )
    write_environment(
        warehouse.feedback("farm") / "environment.yaml", load_environment(folder / "environment.yaml")
    )
    torch.manual_seed(0)
    config = MixingAgentConfig(
        labels=space.labels,
        objectives=["x"],
        scales=[0.5],
        hidden_size=16,
        heads=2,
        feedforward=32,
        set_name="farm",
    )
    publish_agent(warehouse, agent=MixingAgent(config), name="steersman", stage="sft", notes=[])
    return warehouse


@pytest.fixture
def warehouse(tmp_path):
    """An empty one."""
    return Warehouse.at(tmp_path)
