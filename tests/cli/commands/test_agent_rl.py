"""`dmix agent rl` and `dmix agent evaluate` as a user types them."""

import json
import subprocess
import sys

import numpy as np
import pytest

from dmix.mixing.agent.store import load_agent
from dmix.mixing.learning.rl import checkpoint_file
from dmix.mixing.trajectories.feedback import write_feedback
from dmix.mixing.trajectories.store import read_trajectories
from dmix.warehouse_schema.catalog.catalog import Catalog

NAMES = ("--set", "first", "--agent", "small")
TINY = ("--hidden-size", "16", "--heads", "2", "--feedforward", "32")
BRIEF = ("--steps", "4", "--returns-steps", "2", "--actor-delay", "1", "--clone-epochs", "2")
BRIEF += ("--simulators", "2", "--simulator-steps", "2", "--imagined-runs", "4")
RL = ("agent", "rl", *NAMES, *TINY, *BRIEF)


@pytest.fixture
def dmix(warehouse_with_set, on_warehouse):
    """Runs a command on a warehouse with one set that has feedback: (exit code, stdout, stderr)."""
    warehouse = warehouse_with_set("first", paths=6)
    rng = np.random.default_rng(0)
    for trajectory in read_trajectories(warehouse, "first"):
        target = trajectory.mixtures_TN[:, 3:].sum(1).cumsum()
        scores = np.stack([-3 - 0.1 * target, -4 + 0.5 * target], 1) + rng.normal(0, 0.01, (len(target), 2))
        write_feedback(
            warehouse,
            set_name="first",
            trajectory_id=trajectory.trajectory_id,
            objectives=("general", "math"),
            scores_TD=scores,
        )

    return on_warehouse(warehouse)


def test_rl_trains_publishes_and_fills_the_view(dmix):
    code, out, err = dmix(*RL)
    assert code == 0, err
    assert "trajectories with feedback" in err
    assert "clone of the best 10%" in out
    agent = load_agent(dmix.warehouse, "small")
    assert agent.config.stage == "rl"
    assert agent.config.rl["updates"] == 4
    assert not checkpoint_file(dmix.warehouse, "small").exists()
    with Catalog.open_reader(dmix.warehouse) as catalog:
        _, rows = catalog.query("select agent, preset, set_name from agents")
    assert rows == [("small", "default", "first")]


def test_rl_starts_from_an_sft_agent(dmix):
    assert dmix("agent", "sft", *NAMES, *TINY, "--epochs", "2")[0] == 0
    code, out, err = dmix(
        "agent", "rl", "--set", "first", "--agent", "next", *BRIEF, "--from", "small", "--json"
    )
    assert code == 0, err
    report = json.loads(out)
    assert (report["start"], report["updates"]) == ("small", 4)
    assert load_agent(dmix.warehouse, "next").config.hidden_size == 16


def test_paper_preset_bounds_the_returns(dmix):
    code, out, err = dmix(*RL, "--preset", "paper", "--json")
    assert code == 0, err
    assert json.loads(out)["reward_shift"] > 0
    assert load_agent(dmix.warehouse, "small").config.rl["discount"] == 0.99


def test_agent_of_other_objectives_is_refused(dmix):
    assert dmix("agent", "sft", *NAMES, *TINY, "--epochs", "1", "--preset", "paper")[0] == 0
    code, _, err = dmix(
        "agent", "rl", "--set", "first", "--agent", "next", "--from", "small", "--preset", "default"
    )
    assert code == 2
    assert "agent 'small' has the preset paper, but set 'first' has default" in err


def test_dry_run_says_what_it_would_take(dmix):
    code, out, err = dmix(*RL, "--dry-run", "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["updates"] == 6
    assert report["trajectories"] == 9
    assert not dmix.warehouse.agent("small").exists()


def test_set_without_feedback_is_exit_2(dmix):
    for file in dmix.warehouse.feedback("first").glob("*.parquet"):
        file.unlink()
    code, _, err = dmix(*RL)
    assert code == 2
    assert "run 'dmix mix collect --set" in err


def test_evaluate_reports_and_stores(dmix):
    assert dmix("agent", "sft", *NAMES, *TINY, "--epochs", "2")[0] == 0
    brief = ("--repeats", "1", "--fqe-steps", "4", "--simulator-steps", "4", "--hidden-size", "16")
    code, out, err = dmix("agent", "evaluate", *NAMES, *brief, "--dry-run", "--json")
    assert code == 0, err
    assert json.loads(out)["updates"] == 8
    code, out, err = dmix("agent", "evaluate", *NAMES, *brief, "--json")
    assert code == 0, err
    report = json.loads(out)
    assert report["fitted_q"]["mean"] == report["fitted_q"]["low"]
    assert (dmix.warehouse.agent("small") / "evaluation-first.json").is_file()
    assert "fitted Q evaluation" in err
    code, out, _ = dmix("agent", "evaluate", *NAMES, *brief)
    assert code == 0
    assert "learned_simulator.agent.mean" in out


def test_set_agent_is_trained_gone_on_with_and_judged(dmix):
    code, out, err = dmix(*RL, "--architecture", "set", "--domain-width", "8", "--json")
    assert code == 0, err
    config = load_agent(dmix.warehouse, "small").config
    assert (config.model_type, config.hidden_size, config.domain_width) == ("dmix-set-agent", 16, 8)
    code, out, err = dmix(
        "agent", "rl", "--set", "first", "--agent", "next", *BRIEF, "--from", "small", "--json"
    )
    assert code == 0, err
    assert load_agent(dmix.warehouse, "next").config.rl["architecture"] == "set"
    brief = ("--repeats", "1", "--fqe-steps", "4", "--simulator-steps", "4", "--hidden-size", "16")
    code, out, err = dmix("agent", "evaluate", "--set", "first", "--agent", "next", *brief, "--json")
    assert code == 0, err
    assert json.loads(out)["farm"]["trajectories"] == 9


def test_gym_says_nothing_when_it_is_imported():
    code = "from dmix.cli.workflows.agents.learn import hush_gym; hush_gym(); import gym"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
