"""CQL of the set agent on the reference simulator, at toy size: what it learns in, keeps and serves."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import random_schedules, simulated_context, simulated_farm
from tests.mixing.testbed.simulated_learning import SET_TOY, learn, mean_gain, new_agent
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.architectures import arguments_of
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.learning.rl import fit_simulators, prepare, train_rl
from dmix.mixing.learning.rl_fit import fit_cql, new_algorithm
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.offline.farm import load_farm
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
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


def test_learned_simulators_show_the_policy_the_tokens_of_the_farm(learnt):
    """The same schedule and scores, once as a farm's run and once in a simulator."""
    episodes = learnt[0].episodes
    context = simulated_context(REFERENCE, as_sets=True)
    (simulator,) = fit_simulators(
        simulated_farm(REFERENCE, episodes, as_sets=True),
        settings=replace(SET_TOY, simulators=1, simulator_steps=1).resolved("default"),
        progress=quiet,
    )
    mixtures_PSN = np.concatenate(
        [np.tile(context.space.start_N, (1, 1, 1)), episodes.actions_ETN[:1].double().numpy()], axis=1
    )
    found_PSX = simulator.tokens(mixtures_PSN, episodes.changes_ESD[:1].double().numpy())
    np.testing.assert_allclose(found_PSX, episodes.tokens_ESX[:1], atol=1e-5)


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
    whole = fit_cql(agent, episodes, settings=settings, progress=quiet)
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


@pytest.fixture
def farm(simulated_farm):
    return simulated_farm(REFERENCE, number=12)


def steered(warehouse, name):
    """What the agent proposes at step 2 of a run over 4 of 6 other domains, on 3 objectives."""
    space = DomainSpace(("x", "y", "z"), np.array([90, 10, 0, 0, 200, 30]))
    history = History(
        space=space,
        mixtures_TN=np.array([space.start_N, space.natural_N]),
        feedback_TD=np.array([[-3.0, -4.0, -2.0], [-3.1, -3.5, -2.0]]),
        objectives=("news", "code", "target"),
        weights_D=np.full(3, 1 / 3),
        scales_D=np.ones(3),
        steps=8,
        step_samples=20,
        remaining_samples_N=space.samples_N,
        seed=0,
    )
    return make_controller(f"agent:{name}", warehouse=warehouse, space=space).propose(history)


def test_published_agent_steers_a_run_over_other_domains_and_objectives(farm):
    summary = train_rl(farm, set_name="farm", agent_name="any", settings=SET_TOY, progress=quiet)
    assert summary.start == "clone of the best 10%"
    agent = load_agent(farm, "any")
    assert isinstance(agent, SetAgent)
    config = agent.config
    assert (config.stage, config.objectives, config.rl["architecture"]) == (
        "rl",
        ["general", "target"],
        "set",
    )
    assert config.spaces == [
        {"set": "farm", "domains": 6, "active": 6, "target_supply": pytest.approx(9 / 6)}
    ]
    proposal = steered(farm, "any")
    assert not proposal.note
    assert proposal.mixture_N.sum() == pytest.approx(1)
    assert (proposal.mixture_N[[2, 3]] == 0).all() and (proposal.mixture_N[[0, 1, 4, 5]] > 0).all()


def test_training_from_a_set_agent_adds_to_what_it_knows(farm):
    space = {"set": "earlier", "domains": 4, "active": 4, "target_supply": 1.0}
    shape = {name: getattr(SET_TOY, name) for name in ("hidden_size", "feedforward", "heads", "layers")}
    config = SetAgentConfig(
        domain_width=8, objectives=["code", "target"], scales=[0.5, 9.0], spaces=[space], **shape
    )
    publish_agent(farm, agent=SetAgent(config), name="taught", stage="sft", notes=())
    settings = replace(SET_TOY, architecture=None)
    _, agent, resolved = prepare(farm, set_name="farm", settings=settings, start="taught")
    scales_D = load_farm(farm, "farm", preset=None).scales_D
    assert resolved.architecture == "set"
    assert agent.config.objectives == ["code", "target", "general"]
    assert agent.config.scales == pytest.approx([0.5, scales_D[1], scales_D[0]])
    assert [entry["set"] for entry in agent.config.spaces] == ["earlier", "farm"]
    assert json.loads(json.dumps(arguments_of(agent.config))) == arguments_of(agent.config)
    train_rl(farm, set_name="farm", agent_name="next", settings=settings, start="taught", progress=quiet)
    assert load_agent(farm, "next").config.objectives == ["code", "target", "general"]


def test_architectures_that_do_not_go_together_are_refused(farm):
    publish_agent(farm, agent=SetAgent(SetAgentConfig()), name="taught", stage="sft", notes=())
    with pytest.raises(InputError, match="has the architecture set, but --architecture is paper"):
        prepare(farm, set_name="farm", settings=RlSettings(architecture="paper"), start="taught")
    with pytest.raises(InputError, match="--architecture set does not work with --preset paper"):
        prepare(farm, set_name="farm", settings=RlSettings(preset="paper"), start="taught")
    with pytest.raises(InputError, match="--architecture set does not work with --preset paper"):
        RlSettings(architecture="set", preset="paper")


def test_widths_are_those_of_the_architecture_unless_given():
    assert RlSettings().resolved("default").widths == (256, 1024)
    assert RlSettings(architecture="set").resolved("default").widths == (128, 256)
    assert RlSettings(architecture="set", hidden_size=64).resolved("default").widths == (64, 256)


def test_critic_of_a_set_agent_has_its_widths(learnt):
    episodes, settings = learnt[0].episodes, SET_TOY.resolved("default")
    made = new_algorithm(learnt[0].cloned, episodes, settings, device="cpu")
    states = made.impl.q_function[0].states(episodes.tokens_ESX[:2])
    assert [tuple(part.shape) for part in states] == [(2, 7, 16), (2, 7, 6, 8)]
