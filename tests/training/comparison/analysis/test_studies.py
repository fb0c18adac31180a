"""Order and over-fitting are found where they were put in, and not where they were not."""

import numpy as np
import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.studies import (
    order_effect,
    overfitting,
    random_orders,
)

make_results = pytest.fixture(results_below)


def test_random_orders_hold_the_same_mixtures_in_another_order():
    mixture_TN = np.array([[0.1, 0.9], [0.5, 0.5], [0.8, 0.2]])
    orders = random_orders(mixture_TN, orders=10, rng=np.random.default_rng(0))
    assert orders.shape == (10, 3, 2)
    for shuffled_TN in orders:
        assert not np.array_equal(shuffled_TN, mixture_TN)
        assert sorted(shuffled_TN.tolist()) == sorted(mixture_TN.tolist())


def test_constant_mixtures_have_no_order():
    with pytest.raises(ValueError, match="all alike"):
        random_orders(np.full((4, 2), 0.5), orders=1, rng=np.random.default_rng(0))


def test_order_that_matters_ranks_first():
    rng = np.random.default_rng(1)
    seeds_S1 = rng.normal(size=(6, 1))
    found = order_effect(seeds_S1[:, 0] + 0.5, seeds_S1 + 0.05 * rng.normal(size=(6, 10)))
    assert found.difference.value == pytest.approx(0.5, abs=0.05)
    assert found.difference.verdict == "above"
    assert found.rank_p == pytest.approx(1 / 11)


def test_order_that_does_not_matter_ties():
    rng = np.random.default_rng(2)
    found = order_effect(rng.normal(size=6), rng.normal(size=(6, 10)))
    assert found.difference.verdict == "tie" and found.rank_p > 0.1


def layers_of(results):
    evidence = read_evidence(results.write())
    return [evidence.panel("screening", layer) for layer in ("feedback", "development")]


def scored(results, *, extra):
    """Both layers for two controllers; items of the feedback layer are easier for everyone by 0.1."""
    for seed in range(4):
        for name in ("rl", "natural"):
            results.add(name, seed=seed, gains=(0, 0.2), noise=0.01, layers=("feedback", "development"))
    for row in results.items:
        if row["layer"] == "feedback" and row["objective"] == "sums":
            row["score"] += 0.1 + (extra if "-rl-" in row["unit_id"] else 0)
    return results


def test_gain_on_seen_items_alone_is_over_fitting(make_results):
    seen, unseen = layers_of(scored(make_results(), extra=0.2))
    found = overfitting(seen, unseen, controller="rl", reference="natural")
    assert found.value == pytest.approx(0.5, abs=0.06)  # 0.2 / 0.2 / 2
    assert found.verdict == "above" and found.items == 24


def test_easier_items_are_no_over_fitting(make_results):
    seen, unseen = layers_of(scored(make_results(), extra=0.0))
    found = overfitting(seen, unseen, controller="rl", reference="natural")
    assert found.verdict == "tie" and abs(found.value) < 0.06


def test_over_fitting_needs_both_controllers(make_results):
    seen, unseen = layers_of(scored(make_results(), extra=0.0))
    assert overfitting(seen, unseen, controller="rl", reference="odm") is None
