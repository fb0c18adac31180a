"""Operations with a backward pass of their own, against torch's derivatives of the formulas."""

import torch
from torch.autograd import gradcheck

from dmix.training.model.llama.layer import (
    FeedForwardHalf,
    Heads,
    Norm,
    Shape,
    in_pairs,
    out_of_pairs,
    unit,
)


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def test_unit_of_three_and_four():
    found, scale = unit(torch.tensor([[3.0, 4.0]]), 0.0)  # mean square 12.5
    torch.testing.assert_close(found, torch.tensor([[0.8485281, 1.1313708]]))
    torch.testing.assert_close(scale, torch.tensor([[0.2828427]]))


def test_derivatives_are_those_of_finite_differences():
    torch.manual_seed(0)
    shape = Shape(rows=2, length=3, size=4, epsilon=1e-5)
    turns = torch.polar(torch.ones(3, 2, dtype=torch.float64), torch.rand(3, 2, dtype=torch.float64))
    # two heads of queries, one of keys and of values
    weights = random(8, 5), random(4, 5), random(4, 5)
    assert gradcheck(Heads.apply, (random(6, 5), random(5), *weights, turns.repeat(1, 3), shape))
    assert gradcheck(
        FeedForwardHalf.apply, (random(6, 5), random(5), random(7, 5), random(7, 5), random(5, 7), 1e-5)
    )
    assert gradcheck(Norm.apply, (random(6, 5), random(5), 1e-5))


def test_pairs_are_rows_half_a_head_apart():
    rows = torch.arange(8.0)[:, None]
    assert in_pairs(rows, 4)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]
    assert torch.equal(out_of_pairs(in_pairs(rows, 4), 4), rows)
