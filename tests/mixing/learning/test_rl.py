"""CQL from warehouse to published agent."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.mixing.testbed.simulated import (
    random_schedules,
    simulated_context,
    simulated_episodes,
    simulated_farm,
)
from tests.mixing.testbed.simulated_learning import SET_TOY
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.architectures import arguments_of
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.store import load_agent, publish_agent
from dmix.mixing.controllers.registry import make_controller
from dmix.mixing.learning.rl import fit_simulators, prepare, train_rl
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.offline.farm import load_farm
from dmix.mixing.space.domains import DomainSpace
from dmix.mixing.space.history import History
from dmix.warehouse_schema.errors import InputError

REFERENCE = Simulator(steps=6)


def quiet(line):
    """Takes a line of progress."""


def test_learned_simulators_show_the_policy_the_tokens_of_the_farm():
    """The same schedule and scores, once as a farm's run and once in a simulator."""
    schedules = random_schedules(REFERENCE, number=4, seed=0)
    episodes = simulated_episodes([REFERENCE], schedules, np.random.default_rng(0), as_sets=True)
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
