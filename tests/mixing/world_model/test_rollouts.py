"""Runs of a policy in a learned simulator, and what they say about its mixtures."""

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import (
    random_schedules,
    simulated_episodes,
)
from tests.mixing.testbed.simulated_learning import new_agent
from tests.mixing.world_model.two_domains import TWO

from dmix.mixing.agent.networks import DirichletPolicy
from dmix.mixing.learning.settings.rl import RlSettings
from dmix.mixing.world_model.rollouts import make_rollouts


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
