"""What the set encoder says of a training set, and its pools worked by hand."""

import numpy as np
import pytest
import torch

from dmix.mixing.agent.set_encoder import SetAgentConfig, _mean_so_far, _pooled_objectives, seen_space
from dmix.mixing.agent.set_features import OBJECTIVE_WIDTH, WEIGHT
from dmix.mixing.space.domains import DomainSpace


def test_a_training_set_is_told_by_its_sizes():
    space = DomainSpace(("a", "b"), np.array([3, 0, 1, 2]))
    assert seen_space(space, set_name="farm", target_supply=0.5) == {
        "set": "farm",
        "domains": 4,
        "active": 3,
        "target_supply": 0.5,
    }


def test_a_set_agent_has_no_labels_and_serves_any_space():
    config = SetAgentConfig()
    assert not config.fixed_space and list(config.labels) == [] and config.model_type == "dmix-set-agent"
    assert (config.hidden_size, config.feedforward, config.effects) == (128, 256, False)


def test_means_grow_with_the_tokens():
    values_BTNE = torch.tensor([2.0, 4.0, 9.0]).view(1, 3, 1, 1)
    assert _mean_so_far(values_BTNE).flatten().tolist() == [2.0, 3.0, 5.0]


def test_objectives_are_pooled_by_weight_and_alike():
    features_BTDF = torch.zeros(1, 1, 2, OBJECTIVE_WIDTH)
    features_BTDF[..., WEIGHT] = torch.tensor([0.25, 0.75])
    states_BTDE = torch.tensor([[[[4.0], [8.0]]]])
    assert _pooled_objectives(features_BTDF, states_BTDE).flatten().tolist() == pytest.approx([7.0, 6.0])
    nothing = _pooled_objectives(features_BTDF[:, :, :0], states_BTDE[:, :, :0])
    assert nothing.flatten().tolist() == [0.0, 0.0]
