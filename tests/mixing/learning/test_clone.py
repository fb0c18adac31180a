"""Cloning a farm, by its best part or by the outcome, where the outcome tells the mixture."""

import numpy as np
import pytest
import torch
from tests.mixing.testbed.simulated import SCALE, simulated_episodes
from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.agent.agent import MixingAgent, MixingAgentConfig
from dmix.mixing.learning.clone import clone, train_clone
from dmix.mixing.learning.settings.clone import CloneSettings
from dmix.mixing.offline.farm import load_farm
from dmix.mixing.trajectories.feedback import read_feedback, write_feedback
from dmix.warehouse_schema.errors import InputError

STEPS = 3
# Only the target skill counts, so that the gain grows with the share of the second domain.
SIMULATOR = Simulator(weights_K=np.array([0.0, 1.0]), noise=0.001).restricted([0, 3], steps=STEPS)
SMALL = {"hidden_size": 16, "feedforward": 32, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def episodes():
    """Static runs with target shares from 0.02 to 0.98."""
    shares = np.linspace(0.02, 0.98, 40)
    schedules = np.tile(np.stack([1 - shares, shares], axis=1)[:, None], (1, STEPS, 1))
    return simulated_episodes([SIMULATOR], schedules, np.random.default_rng(0))


def cloned(episodes, **settings):
    """The target share of the first mixture of a clone, and its summary."""
    torch.manual_seed(0)
    config = MixingAgentConfig(
        labels=episodes.space.labels, objectives=["a", "b"], scales=[SCALE] * 2, context=STEPS, **SMALL
    )
    agent = MixingAgent(config)
    given = CloneSettings(epochs=60, **SMALL, **settings)
    summary = clone(agent, episodes, settings=given, progress=lambda line: None)
    first = agent.next_mixture(episodes.tokens_ESX[0, :1].numpy(), episodes.space.active_N)
    return first[1], summary, agent


def test_clone_of_the_best_tenth_does_what_they_did(episodes):
    share, summary, _ = cloned(episodes, best=0.1)
    assert summary.trajectories == 4
    assert share > 0.8
    assert summary.lowest_utility == pytest.approx(episodes.gains_E.sort().values[-4].item())
    assert summary.aimed_utility is None


def test_clone_of_all_does_the_mean(episodes):
    share, summary, _ = cloned(episodes, best=1.0)
    assert summary.trajectories == 40
    assert share == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize(("aim", "low", "high"), [(0.95, 0.8, 1.0), (0.05, 0.0, 0.2)])
def test_an_agent_conditioned_on_the_outcome_reaches_for_its_aim(episodes, aim, low, high):
    share, summary, agent = cloned(episodes, best=1.0, aim=aim)
    assert low <= share <= high
    assert summary.aimed_utility == pytest.approx(np.quantile(episodes.gains_E.numpy(), aim))
    # The column of the outcome is folded away: the agent reads what any other reads.
    assert agent.encoder.project.in_features == agent.config.token_width


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"best": 0.0}, "--best is 0.0, expected a number above 0"),
        ({"aim": 1.5}, "--aim is 1.5, expected 0 to 1"),
        ({"architecture": "set"}, "supports only 'paper'"),
        ({"epochs": 0}, "--epochs is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        CloneSettings(**settings)


def test_clone_of_a_farm_leaves_out_varied_proxies_and_cql_keeps_them(simulated_farm):
    warehouse = simulated_farm(SIMULATOR, number=6)
    scores = read_feedback(warehouse, "farm")
    best = max(scores, key=lambda name: scores[name][-1, 1])
    write_feedback(
        warehouse,
        set_name="farm",
        trajectory_id=best,
        objectives=("general", "target"),
        scores_TD=scores[best],
        variation="learning_rate*2",
    )
    summary = train_clone(
        warehouse,
        set_name="farm",
        agent_name="cloned",
        settings=CloneSettings(epochs=1, best=1.0, **SMALL),
        progress=lambda line: None,
    )
    assert summary.trajectories == 5
    assert len(load_farm(warehouse, "farm", preset=None).episodes) == 6
