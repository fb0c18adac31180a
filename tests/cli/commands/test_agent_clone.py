"""`dmix agent clone` as a user types it."""

import json

import numpy as np
import pytest

from dmix.mixing.agent.store import load_agent
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import read_trajectories
from dmix.warehouse_schema.catalog.catalog import Catalog

TINY = ("--hidden-size", "16", "--heads", "2", "--feedforward", "32", "--epochs", "2")


@pytest.fixture
def dmix(warehouse_with_set, on_warehouse):
    """Runs a command on a warehouse with one set that has feedback: (exit code, stdout, stderr)."""
    warehouse = warehouse_with_set("farm", paths=6)
    for trajectory in read_trajectories(warehouse, "farm"):
        target = trajectory.mixtures_TN[:, 3:].sum(1).cumsum()
        write_feedback(
            warehouse,
            set_name="farm",
            trajectory_id=trajectory.trajectory_id,
            objectives=("general", "math"),
            scores_TD=np.stack([-3 - 0.1 * target, -4 + 0.5 * target], 1),
        )

    return on_warehouse(warehouse)


def test_example_of_the_help_trains_publishes_and_fills_the_view(dmix):
    example = ("agent", "clone", "--set", "farm", "--agent", "dt", "--best", "1", "--aim", "1")
    code, out, err = dmix(*example, *TINY, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["trajectories"] == 9
    assert report["aimed_utility"] > report["mean_utility"]
    agent = load_agent(dmix.warehouse, "dt")
    assert agent.config.stage == "clone"
    assert agent.encoder.project.in_features == agent.config.token_width
    assert "final utility that a run should reach" in (dmix.warehouse.agent("dt") / "README.md").read_text()
    with Catalog.open_reader(dmix.warehouse) as catalog:
        _, rows = catalog.query("select agent, set_name from agents")
    assert rows == [("dt", "farm")]
    code, _, err = dmix(*example, *TINY)
    assert code == 2
    assert "--overwrite" in err


def test_table_shows_losses_by_their_ends(dmix):
    code, out, err = dmix("agent", "clone", "--set", "farm", "--agent", "bc", "--best", "0.3", *TINY)
    assert code == 0, err
    assert "(2 epochs)" in out
    assert "9 trajectories with feedback" in err


def test_dry_run_says_what_it_would_take(dmix):
    code, out, _ = dmix(
        "agent", "clone", "--set", "farm", "--agent", "bc", "--best", "0.3", "--dry-run", "--json", *TINY
    )
    assert code == 0
    report = json.loads(out)
    assert report["trajectories"] == 3
    assert report["tokens_at_most"] == 2 * report["steps"]
    assert not dmix.warehouse.agent("bc").exists()


def test_set_without_feedback_is_exit_2(dmix):
    for file in dmix.warehouse.feedback("farm").glob("*.parquet"):
        file.unlink()
    code, _, err = dmix("agent", "clone", "--set", "farm", "--agent", "bc")
    assert code == 2
    assert "run 'dmix mix collect --set" in err
