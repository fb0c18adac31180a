"""Settings of CQL that are gone: the flags name what replaces them, agents stored with them still run."""

import json

import numpy as np
import pytest
import torch

from dmix.cli.main import run
from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.files.layout import Warehouse

SPACE = DomainSpace(("News", "Law"), np.array([30, 10, 50, 20]))
STORED = {"n_steps": 3, "importance": True, "divergence_target": 0.5, "potential": True, "steps": 2000}


def test_an_agent_stored_with_retired_settings_loads_and_steers(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    torch.manual_seed(0)
    shape = {"hidden_size": 16, "heads": 2, "feedforward": 32}
    config = MixingAgentConfig(labels=SPACE.labels, objectives=["x"], scales=[1.0], **shape)
    publish_agent(warehouse, agent=MixingAgent(config), name="old", stage="rl", notes=[])
    path = warehouse.agent("old") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "rl": STORED}))
    assert load_agent(warehouse, "old").config.rl == STORED
    history = History(
        space=SPACE,
        mixtures_TN=SPACE.start_N[None],
        feedback_TD=np.full((1, 1), -3.0),
        objectives=("x",),
        weights_D=np.ones(1),
        scales_D=np.ones(1),
        steps=4,
        step_samples=10,
        remaining_samples_N=SPACE.samples_N,
        seed=0,
    )
    proposal = make_controller("agent:old", warehouse=warehouse, space=SPACE).propose(history)
    assert proposal.mixture_N.sum() == pytest.approx(1) and not proposal.note


@pytest.mark.parametrize(
    ("flags", "replacement"),
    [
        (["--n-steps", "3"], "--returns-steps"),
        (["--importance"], "--conservative-weight"),
        (["--no-importance"], "--conservative-weight"),
        (["--divergence-target", "0.5"], "--simulator-share"),
        (["--potential"], "--returns-steps"),
    ],
)
def test_a_flag_that_is_gone_is_exit_2_and_names_what_replaces_it(flags, replacement, tmp_path, capsys):
    command = ["agent", "rl", "--set", "farm", "--agent", "a", "--warehouse", str(tmp_path)]
    assert run([*command, *flags]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{flags[0].replace('--no-', '--')} no longer exists" in said and replacement in said


def test_a_config_file_with_such_a_name_is_refused_too(tmp_path, capsys):
    (tmp_path / "rl.yaml").write_text("n_steps: 3\n")
    command = ["agent", "rl", "--set", "farm", "--agent", "a", "--warehouse", str(tmp_path)]
    assert run([*command, "--config", str(tmp_path / "rl.yaml")]) == 2
    assert "--n-steps no longer exists" in capsys.readouterr().err
