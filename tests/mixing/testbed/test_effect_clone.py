"""A set agent that reads effects: older agents load, and it imitates the effect agent."""

import dataclasses

import numpy as np
import pytest
import torch
from benchmarks.listening import VARIANTS, case_of
from tests.mixing.testbed.effect_clone import clone_effect_agent, cloned_policy, taught_by

from dmix.mixing.agent.architectures import arguments_of, config_of
from dmix.mixing.agent.inputs import told_of
from dmix.mixing.agent.set_agent import SetAgent
from dmix.mixing.agent.set_encoder import SetAgentConfig
from dmix.mixing.agent.set_features import EFFECT_WIDTH, effect_columns
from dmix.mixing.controllers.agent import AgentController
from dmix.mixing.learning.settings.sft import SftSettings
from dmix.warehouse_schema.errors import InputError

AGENT = dataclasses.replace(VARIANTS[0], steps=8)
SETTINGS = SftSettings(architecture="set", epochs=6, hidden_size=16, feedforward=32, domain_width=16)


def config(**given):
    return SetAgentConfig(
        labels=(),
        objectives=("general", "target"),
        scales=(1.0, 1.0),
        hidden_size=16,
        feedforward=32,
        domain_width=16,
        **given,
    )


def test_columns_are_utilities_by_role_with_their_errors():
    columns = effect_columns(
        np.array([[1.0, 2.0, 0.0]]),
        np.array([[0.3, 0.4, 0.5]]),
        value_D=np.array([1.0, 1.0, 2.0]),
        roles=("general", "general", "target"),
    )
    np.testing.assert_allclose(np.sinh(4 * columns), [[3.0, 0.5, 0.0, 1.0]])
    assert columns.shape[1] == EFFECT_WIDTH


def test_agents_of_before_effects_load_and_keep_their_width():
    arguments = arguments_of(config())
    del arguments["effects"]
    old, new = SetAgent(config_of(arguments)), SetAgent(config(effects=True))
    assert new.encoder.trace.in_features == old.encoder.trace.in_features + EFFECT_WIDTH
    assert config_of(arguments_of(config(effects=True))).effects


def test_the_clone_learns_and_steers():
    case, prediction = case_of(AGENT, "direction", 90_000)
    taught = taught_by(case.world, case.policy, prediction, runs=2, rng=np.random.default_rng(0))
    torch.manual_seed(0)
    agent = SetAgent(config(effects=True))
    result = clone_effect_agent(agent, [taught], settings=SETTINGS, progress=lambda line: None)
    assert min(result.train_losses) < result.train_losses[0]
    mixtures = case.world.run(cloned_policy(agent, prediction), np.random.default_rng(1))
    assert mixtures.shape == (case.world.steps, len(case.world.space))
    assert mixtures.sum(1) == pytest.approx(1)
    history = case.world.history(mixtures[:0], case.world.true.scores(mixtures[None, :0])[0])
    steered = AgentController(agent, prediction=prediction).propose(history)
    np.testing.assert_allclose(steered.mixture_N, mixtures[0], atol=1e-6)
    with pytest.raises(InputError, match="mix probe"):
        AgentController(agent).propose(history)
    assert told_of(history, prediction).effects_N4.shape == (len(case.world.space), EFFECT_WIDTH)
