"""Runs of a policy in a learned simulator, and what they say about its mixtures."""

import numpy as np
import pytest
import torch

from dmix.mixing.imagination import imagine
from dmix.mixing.learned_simulator import ModelSettings, fit_simulator
from dmix.mixing.networks import DirichletPolicy
from dmix.mixing.rl_settings import RlSettings
from dmix.mixing.simulated import SCALE, random_schedules, simulated_context, simulated_episodes
from dmix.mixing.simulated_learning import new_agent
from dmix.mixing.simulator import Simulator

TWO = Simulator().restricted([0, 3], steps=5)
MODEL = ModelSettings(steps=150, batch_episodes=32, learning_rate=5e-3, width=16, held_out=0.0, seed=0)


@pytest.fixture(scope="module")
def learned():
    episodes = simulated_episodes([TWO], random_schedules(TWO, number=60, seed=0), np.random.default_rng(0))
    return fit_simulator(
        episodes,
        preset="default",
        scales_D=np.full(2, SCALE),
        weights_D=TWO.weights_K,
        context=simulated_context(TWO),
        target_steps=float("inf"),
        settings=MODEL,
        progress=lambda line: None,
    )


@pytest.fixture(scope="module")
def policy():
    episodes = simulated_episodes([TWO], random_schedules(TWO, number=3, seed=0), np.random.default_rng(0))
    settings = RlSettings(hidden_size=16, feedforward=32, heads=2).resolved("default")
    return DirichletPolicy(new_agent(episodes, settings), torch.ones(2, dtype=torch.bool))


def following(schedule_TN):
    return lambda mixtures, tokens: np.tile(schedule_TN[mixtures.shape[1] - 1], (len(mixtures), 1))


def test_slopes_match_finite_differences_of_the_final_utility(learned):
    schedule_TN = np.random.default_rng(0).dirichlet(np.ones(2), TWO.steps)
    noise_PTD = np.random.default_rng(1).standard_normal((1, TWO.steps, 2))
    made = learned.run(following(schedule_TN), noise_PTD=noise_PTD)
    slopes_TN = learned.slopes(made, noise_PTD=noise_PTD)[0].numpy()

    def final(changed_TN):
        return float(learned.run(following(changed_TN), noise_PTD=noise_PTD).utility_ES[0, -1])

    for step, domain in ((0, 0), (2, 1), (TWO.steps - 1, 0)):
        step_size = np.zeros_like(schedule_TN)
        step_size[step, domain] = 1e-2
        difference = (final(schedule_TN + step_size) - final(schedule_TN - step_size)) / 2e-2
        assert slopes_TN[step, domain] == pytest.approx(difference, rel=0.02, abs=2e-3)


def test_same_noise_gives_the_same_run(learned):
    noise_PTD = np.random.default_rng(1).standard_normal((2, TWO.steps, 2))
    schedule_TN = np.full((TWO.steps, 2), 0.5)
    first, second = (learned.run(following(schedule_TN), noise_PTD=noise_PTD) for _ in range(2))
    assert torch.equal(first.tokens_ESX, second.tokens_ESX)


def test_half_of_the_runs_follow_the_policy_and_the_others_do_so_after_their_stray_step(learned, policy):
    found = imagine(policy, learned, runs=40, rng=np.random.default_rng(3))
    means_PTN = policy.mean(found.episodes.tokens_ESX[:, :-1]).detach()
    away_PT = (found.episodes.actions_ETN - means_PTN).abs().sum(-1).numpy()
    steps_T = np.arange(TWO.steps)
    after_PT = steps_T > found.stray_P[:, None]
    assert (found.stray_P < 0).sum() == 20
    assert (away_PT[after_PT] < 1e-5).all()
    strayed_PT = steps_T == found.stray_P[:, None]
    assert (away_PT[strayed_PT] > 1e-3).mean() > 0.9
