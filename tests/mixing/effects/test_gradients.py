import numpy as np
import pytest

from dmix.mixing.effects.gradients import (
    bounded_steps,
    error_matrices,
    gradient_budget,
    gradient_effects,
)
from dmix.warehouse_schema.errors import InputError


def test_effects_are_those_worked_by_hand():
    # two domains, two batches, one objective; text of domain 0 lowers the score by 2 per unit of rate
    products = np.array([[[1.0], [3.0]], [[-4.0], [-4.0]]])
    natural = np.array([0.75, 0.25])
    effect, stderr = gradient_effects(products, np.zeros((4, 4)), natural, rate_sum=0.5)
    # -0.5 * (2, -4) = (-1, 2), less the natural mean -0.25
    assert effect[:, 0] == pytest.approx([-0.75, 2.25])
    assert natural @ effect == pytest.approx([0])
    # batches 1 and 3: standard error 0.5 * sqrt(2) / sqrt(2) = 0.5 of domain 0, and 0 of domain 1
    assert stderr[:, 0] == pytest.approx([0.5, 0])
    (matrix,) = error_matrices(stderr, natural)
    assert np.sqrt((matrix**2).sum(0)) == pytest.approx([0.5 * 0.25, 0.5 * 0.75])


def test_a_long_run_ends_at_the_minimum_and_not_beyond():
    # one weight, P = 1; all batches of domain 0 have gradient 2, of domain 1 -1; the score rises with it
    grads, natural = np.array([2.0, 2.0, -1.0, -1.0]), np.array([0.5, 0.5])
    products = grads.reshape(2, 2, 1)
    # H = 0.5 * 4 + 0.5 * 1 = 2.5; (1 / R + H)^-1 is 1 / 2.6 for R = 10, and R for a small one
    long = bounded_steps(products, np.outer(grads, grads), natural, rate_sum=10.0)
    assert long[:, 0, 0] == pytest.approx([2 / 2.6, -1 / 2.6])
    short = bounded_steps(products, np.outer(grads, grads), natural, rate_sum=1e-6)
    assert short[:, 0, 0] == pytest.approx([2e-6, -1e-6], rel=1e-4)


def test_bounded_steps_are_those_of_the_whole_matrix_of_weights():
    rng = np.random.default_rng(0)
    grads, wanted = rng.standard_normal((6, 4)), rng.standard_normal((2, 4))
    metric, natural = np.array([1.0, 4.0, 0.5, 2.0]), np.array([0.5, 0.2, 0.3])
    found = bounded_steps(
        (grads * metric @ wanted.T).reshape(3, 2, 2), grads * metric @ grads.T, natural, rate_sum=0.7
    )
    curvature = grads.T @ np.diag(np.repeat(natural / 2, 2)) @ grads
    whole = np.linalg.inv(np.diag(1 / metric) / 0.7 + curvature)
    assert found.reshape(6, 2) == pytest.approx(grads @ whole @ wanted.T)


def test_domains_without_samples_have_no_effect_and_no_error():
    products = np.array([[[1.0], [3.0]], [[0.0], [0.0]], [[-4.0], [-4.0]]])
    natural = np.array([0.5, 0.0, 0.5])
    effect, stderr = gradient_effects(products, np.eye(6), natural, rate_sum=1.0)
    assert effect[1] == 0 and not error_matrices(stderr, natural)[0][:, 1].any()


def test_a_budget_keeps_to_its_tokens():
    budget = gradient_budget(
        tokens=100_000,
        seq_len=128,
        domains=9,
        item_tokens_D=np.array([20_000.0, 30_000]),
        items_D=np.array([50, 100]),
    )
    assert budget.items is None and budget.tokens <= 100_000
    assert (budget.batches, budget.samples) == (4, 9)
    tight = gradient_budget(
        tokens=20_000,
        seq_len=128,
        domains=9,
        item_tokens_D=np.array([20_000.0, 30_000]),
        items_D=np.array([50, 100]),
    )
    assert tight.items == 10 and tight.tokens <= 20_000
    with pytest.raises(InputError, match="--max-hours"):
        gradient_budget(
            tokens=1_000, seq_len=128, domains=9, item_tokens_D=np.array([20_000.0]), items_D=np.array([50])
        )
