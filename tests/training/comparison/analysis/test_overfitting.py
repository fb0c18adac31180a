"""Over-fitting is found where it was put in, and not where it was not."""

import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.overfitting import (
    overfitting,
)

make_results = pytest.fixture(results_below)


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
