"""CQL on the simplex: terms worked by hand, a table for Q, and the policy's gradient."""

import io

import pytest
import torch
from tests.mixing.learning.episode_batches import batch_of

from dmix.mixing.agent.agent import MixingAgentConfig
from dmix.mixing.learning.cql import SimplexCQLConfig
from dmix.mixing.learning.cql_losses import (
    EpisodeBatch,
)


def test_a_tenth_of_the_proximity_is_left_at_the_last_update_of_the_actor():
    config = SimplexCQLConfig(proximity=0.4, actor_delay=10, actor_updates=100)
    found = [config.proximity_at(step) for step in (0, 10, 60, 110, 200)]
    assert found == pytest.approx([0.4, 0.4, 0.4 * 0.1**0.5, 0.04, 0.04])
    assert SimplexCQLConfig(proximity=0.4).proximity_at(50) == 0.4


@pytest.mark.parametrize(
    ("share", "found"), [(0.0, [0, 0, 0]), (0.5, [0.5, 10 / 11, 100 / 101]), (1.0, [1, 1, 1])]
)
def test_share_of_rollouts_rises_as_the_weight_of_the_critics_falls_to_a_hundredth(share, found):
    config = SimplexCQLConfig(simulator_share=share, actor_delay=10, actor_updates=100)
    assert [config.simulator_share_at(step) for step in (10, 60, 110)] == pytest.approx(found)


AGENT = {
    "labels": ["a", "b", "c"],
    "objectives": ["general"],
    "hidden_size": 16,
    "feedforward": 32,
    "heads": 2,
    "context": 8,
}


def made_algorithm(**changes):
    config = SimplexCQLConfig(agent=AGENT, active=[True] * 5 + [False], **changes)
    made = config.create()
    made.create_impl((MixingAgentConfig(**AGENT).token_width,), 6)
    return made


def random_batch(width, domains=6):
    torch.manual_seed(1)
    batch = batch_of([[0.1, 0.2], [0.3, 0.4]], lengths=[2, 2], ended=[True, True], domains=domains)
    batch.actions_ETN[..., -1] = 0
    return EpisodeBatch(**{**vars(batch), "tokens_ESX": torch.rand(2, 3, width)})


def test_weights_survive_d3rlpy_s_own_form():
    made = made_algorithm()
    width = MixingAgentConfig(**AGENT).token_width
    made.update(random_batch(width))
    stored = io.BytesIO()
    made.impl.save_model(stored)
    other = made_algorithm()
    other.impl.load_model(io.BytesIO(stored.getvalue()))
    tokens = torch.rand(2, 3, width)
    torch.testing.assert_close(other.impl.policy.mean(tokens), made.impl.policy.mean(tokens))
    lengths = torch.tensor([[3.0], [2.0]])
    best = made.impl.predict_best_action((tokens, lengths))
    torch.testing.assert_close(best[1], made.impl.policy.mean(tokens)[1, 1])
    assert (best[:, 5] == 0).all()
