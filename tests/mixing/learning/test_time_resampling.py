"""A farm at another number of steps: the same samples, the same scores."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.learning.time_resampling import between, paced, time_resampled
from dmix.mixing.offline.farm import load_farm

REFERENCE = Simulator(steps=6)


@pytest.fixture
def farm(simulated_farm):
    return load_farm(simulated_farm(REFERENCE, number=12), "farm", preset=None, as_sets=True)


def test_values_between_steps_lie_on_straight_lines():
    found = between(np.array([[0.0], [2.0], [8.0]]), np.array([0.0, 0.5, 1.0, 1.75, 2.0]))
    assert found.ravel().tolist() == [0.0, 1.0, 2.0, 6.5, 8.0]


@pytest.mark.parametrize("steps", [3, 12, 15])
def test_a_run_at_another_pace_takes_the_same_samples_and_ends_at_the_same_scores(farm, steps):
    other, episodes = paced(farm, steps), farm.episodes
    assert other.episodes.valid_mask_ET.shape[1] == steps and other.context.steps == steps
    torch.testing.assert_close(
        other.episodes.actions_ETN.mean(1), episodes.actions_ETN.mean(1), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(other.episodes.actions_ETN.sum(-1), torch.ones(12, steps))
    torch.testing.assert_close(other.episodes.gains_E, episodes.gains_E, atol=1e-4, rtol=0)
    assert other.episodes.terminal_ET[:, -1].all()
    np.testing.assert_allclose(other.context.supply_N / steps, farm.context.supply_N / REFERENCE.steps)


def test_halving_the_steps_averages_neighbours(farm):
    found = paced(farm, 3).episodes.actions_ETN
    torch.testing.assert_close(
        found, farm.episodes.actions_ETN.unflatten(1, (3, 2)).mean(2), atol=1e-5, rtol=0
    )


def test_a_fragment_at_another_pace_stays_a_fragment(farm):
    episodes = farm.episodes
    valid_mask_ET = episodes.valid_mask_ET.clone()
    valid_mask_ET[0, 4:] = False
    cut = replace(farm, episodes=replace(episodes, valid_mask_ET=valid_mask_ET))
    found = paced(cut, 3).episodes
    assert found.valid_mask_ET[0].tolist() == [True, True, False]
    assert not found.terminal_ET[0].any() and found.terminal_ET[1:, -1].all()


def test_paces_beyond_the_agent_s_context_are_left_out(farm):
    assert [other.context.steps for other in time_resampled(farm, context=80)] == [3, 15]
    assert [other.context.steps for other in time_resampled(farm, context=10)] == [3]
