"""Fitted Q evaluation against a simulator, where the truth is known."""

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import (
    SCALE,
    random_schedules,
    simulated_episodes,
)
from tests.mixing.testbed.simulator import Simulator
from tests.mixing.testbed.static_agents import static_agent

from dmix.mixing.learning.fqe import fitted_value
from dmix.mixing.learning.settings.evaluate import EvaluateSettings

TWO = Simulator().restricted([0, 3], steps=5)


SMALL = EvaluateSettings(
    repeats=1, fqe_steps=400, simulator_steps=400, hidden_size=16, heads=2, batch_episodes=32
)


def utility_of(gain):
    """The gain J in the unit of U, whose scale is `SCALE` and whose weights are those of J."""
    return gain / SCALE


@pytest.fixture(scope="module")
def episodes():
    return simulated_episodes([TWO], random_schedules(TWO, number=150, seed=0), np.random.default_rng(0))


def true_utility(agent):
    share = torch.softmax(agent.head.bias.detach(), 0).numpy()
    return utility_of(TWO.gain(np.tile(share, (1, TWO.steps, 1)))[0])


@pytest.mark.parametrize("logits", [[1.5, 0.0], [-1.0, 1.0]])
def test_fitted_q_evaluation_finds_the_utility_of_a_static_policy(episodes, logits):
    agent = static_agent(logits)
    spread = utility_of(TWO.gain(random_schedules(TWO, number=150, seed=0)).std())
    found = fitted_value(agent, episodes, settings=SMALL, seed=0, progress=lambda line: None)
    assert found == pytest.approx(true_utility(agent), abs=0.35 * spread)
