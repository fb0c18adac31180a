"""CQL of the set agent on the reference simulator, at toy size: what it learns in, keeps and serves."""

import os
import signal
from dataclasses import replace

import pytest
import torch
from tests.mixing.testbed.simulated import random_schedules
from tests.mixing.testbed.simulated_learning import SET_TOY, learn, mean_gain, new_agent
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.architectures import arguments_of
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.learning.rl_fit import fit_cql, new_algorithm
from dmix.warehouse_schema.errors import InputError

REFERENCE = Simulator(steps=6)


def quiet(line):
    """Takes a line of progress."""


def weights(agent):
    return torch.cat([value.ravel() for value in agent.state_dict().values()])


@pytest.fixture(scope="module")
def learnt():
    schedules = random_schedules(REFERENCE, number=16, seed=0)
    return [learn([REFERENCE], schedules, settings=SET_TOY, progress=quiet) for _ in range(2)]


def test_critics_and_actor_move_and_twice_the_same_way(learnt):
    first, second = learnt
    assert isinstance(first.result.agent, SetAgent)
    assert first.result.updates == 6
    assert {"td_loss", "actor_loss", "simulator_gain"} <= first.result.losses.keys()
    assert not torch.equal(weights(first.result.agent), weights(first.cloned))
    assert torch.equal(weights(first.result.agent), weights(second.result.agent))
    gain = mean_gain(first.policy, [REFERENCE] * 2, seed=1, as_sets=True)
    assert gain == mean_gain(second.policy, [REFERENCE] * 2, seed=1, as_sets=True)


def broken_at(update):
    """Progress that breaks the training off once it has counted this many updates."""

    def progress(line):
        if line.startswith(f"update {update} "):
            raise KeyboardInterrupt

    return progress


def test_a_broken_training_goes_on_and_another_agent_s_is_refused(learnt, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.learning.rl_fit._REPORT_SECONDS", 0)
    monkeypatch.setattr("dmix.mixing.learning.rl_fit._CHECKPOINT_SECONDS", 0)
    episodes, checkpoint = learnt[0].episodes, tmp_path / "state.pt"
    settings = replace(SET_TOY, imagined=0.0).resolved("default")
    agent = new_agent(episodes, settings)
    said = []
    whole = fit_cql(agent, episodes, settings=settings, progress=said.append)
    steps = settings.returns_steps
    assert said[0].startswith(f"critics learn final utilities of trajectories: gradient step 1 of {steps}, ")
    assert said[steps].startswith("update 1 of ")
    with pytest.raises(KeyboardInterrupt):
        fit_cql(agent, episodes, settings=settings, checkpoint=checkpoint, progress=broken_at(3))
    other = SetAgent(SetAgentConfig(**{**arguments_of(agent.config), "scales": [1.0, 1.0]}))
    with pytest.raises(InputError, match="belongs to a training with other settings or data"):
        fit_cql(other, episodes, settings=settings, checkpoint=checkpoint, progress=quiet)
    lines = []
    resumed = fit_cql(agent, episodes, settings=settings, checkpoint=checkpoint, progress=lines.append)
    assert lines[0] == "resuming after 2 updates"
    assert torch.equal(weights(resumed.agent), weights(whole.agent))


def test_control_c_keeps_the_updates_made_so_far(learnt, tmp_path, monkeypatch):
    monkeypatch.setattr("dmix.mixing.learning.rl_fit._REPORT_SECONDS", 0)
    episodes, checkpoint = learnt[0].episodes, tmp_path / "state.pt"
    settings = replace(SET_TOY, imagined=0.0).resolved("default")
    agent = new_agent(episodes, settings)

    def press(line):
        if line.startswith("update 2 "):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit_cql(agent, episodes, settings=settings, checkpoint=checkpoint, progress=press)
    lines = []
    resumed = fit_cql(agent, episodes, settings=settings, checkpoint=checkpoint, progress=lines.append)
    assert lines[0] == "resuming after 2 updates"
    whole = fit_cql(agent, episodes, settings=settings, progress=quiet)
    assert torch.equal(weights(resumed.agent), weights(whole.agent))


def test_critic_of_a_set_agent_has_its_widths(learnt):
    episodes, settings = learnt[0].episodes, SET_TOY.resolved("default")
    made = new_algorithm(learnt[0].cloned, episodes, settings, device="cpu")
    states = made.impl.q_function[0].states(episodes.tokens_ESX[:2])
    assert [tuple(part.shape) for part in states] == [(2, 7, 16), (2, 7, 6, 8)]
