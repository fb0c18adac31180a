"""Runs of a policy in a learned simulator, and what they say about its mixtures."""

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import (
    random_schedules,
    simulated_episodes,
    simulated_farm,
)
from tests.mixing.testbed.simulated_learning import new_agent
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.networks import DirichletPolicy
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.world_model.learned_simulator import SimulatorSettings, fit_simulator
from dmix.mixing.world_model.rollouts import make_rollouts

TWO = Simulator().restricted([0, 3], steps=5)
MODEL = SimulatorSettings(steps=150, batch_episodes=32, learning_rate=5e-3, width=16, held_out=0.0, seed=0)


@pytest.fixture(scope="module")
def farm():
    return simulated_episodes([TWO], random_schedules(TWO, number=60, seed=0), np.random.default_rng(0))


@pytest.fixture(scope="module")
def learned(farm):
    return fit_simulator(simulated_farm(TWO, farm), settings=MODEL, progress=lambda line: None)


@pytest.fixture(scope="module")
def policy():
    episodes = simulated_episodes([TWO], random_schedules(TWO, number=3, seed=0), np.random.default_rng(0))
    settings = RlSettings(hidden_size=16, feedforward=32, heads=2).resolved("default")
    return DirichletPolicy(new_agent(episodes, settings), torch.ones(2, dtype=torch.bool))


def test_half_of_the_runs_follow_the_policy_and_the_others_do_so_after_their_stray_step(learned, policy):
    found = make_rollouts(policy, learned, runs=40, rng=np.random.default_rng(3))
    means_PTN = policy.mean(found.episodes.tokens_ESX[:, :-1]).detach()
    away_PT = (found.episodes.actions_ETN - means_PTN).abs().sum(-1).numpy()
    steps_T = np.arange(TWO.steps)
    after_PT = steps_T > found.stray_P[:, None]
    assert (found.stray_P < 0).sum() == 20
    assert (away_PT[after_PT] < 1e-5).all()
    strayed_PT = steps_T == found.stray_P[:, None]
    assert (away_PT[strayed_PT] > 1e-3).mean() > 0.9
