"""When a run takes gradients, and from which moments."""

import pytest
import torch

from dmix.training.scoring.run_gradients import RunGradients, _moments


@pytest.mark.parametrize(("every", "steps"), [(1, [1, 2, 3, 4, 5]), (2, [1, 3, 5]), (3, [1, 4]), (9, [1])])
def test_gradients_are_due_before_the_first_step_and_then_now_and_then(every, steps):
    gradients = RunGradients(every=every, task=None, budget=None, rates=1.0)
    assert [step for step in range(1, 6) if gradients.due(step)] == steps


def test_moments_are_there_after_the_first_update_of_every_weight():
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = torch.optim.Adam(weights)
    assert _moments(optimizer) == []
    weights[0].grad = torch.ones(2)
    optimizer.step()
    assert _moments(optimizer) == [], "the other weight has had no update"
    weights[1].grad = torch.ones(2)
    optimizer.step()
    first, second = _moments(optimizer)
    # 0.001 of the square of each gradient, after two updates and after one
    assert first.tolist() == pytest.approx([0.001999] * 2) and second.tolist() == pytest.approx([0.001] * 2)
