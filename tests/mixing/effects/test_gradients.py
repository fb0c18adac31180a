import numpy as np
import pytest

from dmix.mixing.effects.gradients import gradient_budget, gradient_effects
from dmix.warehouse_schema.errors import InputError


def test_effects_are_those_worked_by_hand():
    # two domains, two batches, one objective; text of domain 0 lowers the score by 2 per unit of rate
    products = np.array([[[1.0], [3.0]], [[-4.0], [-4.0]]])
    natural = np.array([0.75, 0.25])
    effect, errors = gradient_effects(products, natural, rate_sum=0.5)
    # -0.5 * (2, -4) = (-1, 2), less the natural mean -0.25
    assert effect[:, 0] == pytest.approx([-0.75, 2.25])
    assert natural @ effect == pytest.approx([0])
    # batches 1 and 3: standard error 0.5 * sqrt(2) / sqrt(2) = 0.5 of domain 0, and 0 of domain 1
    stderr = np.sqrt((errors[0] ** 2).sum(0))
    assert stderr == pytest.approx([0.5 * 0.25, 0.5 * 0.75])


def test_domains_without_samples_have_no_effect_and_no_error():
    products = np.array([[[1.0], [3.0]], [[0.0], [0.0]], [[-4.0], [-4.0]]])
    effect, errors = gradient_effects(products, np.array([0.5, 0.0, 0.5]), rate_sum=1.0)
    assert effect[1] == 0 and not errors[0][:, 1].any()


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
