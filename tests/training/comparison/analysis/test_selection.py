"""The headroom study tells selection from what holds on fresh seeds."""

import numpy as np
import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.selection import headroom

make_results = pytest.fixture(results_below)


def study(results):
    return headroom(read_evidence(results.write()))


def draw(results, name, target, *, kind="static", seed=1_000, part="draw"):
    return results.add(name, stage="headroom", part=part, kind=kind, seed=seed, gains=(0, target))


def test_no_study_before_its_first_run(make_results):
    assert study(make_results().add("natural")) is None


def test_best_of_the_first_pass_is_told_with_its_fresh_runs(make_results):
    results = make_results()
    for index in range(4):
        draw(results, f"static-{index}", 0.04 * index, seed=1_000 + index)
    for seed in (2_000, 2_001):
        draw(results, "static-3", 0.08, seed=seed, part="rerun")
        draw(results, "static-2", 0.10, seed=seed, part="rerun")
    for seed in (3_000, 3_001, 3_002):
        draw(results, "natural", 0.02, kind="controller", seed=seed, part="noise")
    found = study(results)
    (best,) = found.best
    assert (best.kind, best.name, best.started) == ("static", "static-3", 4)
    assert best.selected == pytest.approx(0.3)  # 0.12 / 0.2 / 2
    assert best.fresh.value == pytest.approx(0.2)
    assert best.curse == pytest.approx(0.1)
    assert best.over_natural.value == pytest.approx(0.15)
    assert best.again == {"static-3": pytest.approx(0.2), "static-2": pytest.approx(0.25)}
    assert found.natural_S == pytest.approx([0.05] * 3)


def test_natural_mixing_on_the_fresh_seeds_is_paired_with_the_best(make_results):
    results = draw(make_results(), "static-0", 0.1)
    for seed, shift in ((2_000, 0.0), (2_001, 4.0)):
        draw(results, "static-0", shift + 0.1, seed=seed, part="rerun")
        draw(results, "natural", shift, kind="controller", seed=seed, part="noise")
    (best,) = study(results).best
    # the seeds differ by far more than the mixtures do
    assert best.over_natural.value == pytest.approx(0.25) and best.over_natural.verdict == "above"


def test_seed_noise_comes_from_shared_seeds_where_there_are_any(make_results):
    results = make_results()
    for name, targets in (("static-0", (0.0, 0.4)), ("static-1", (0.2, 0.4))):
        draw(results, name, 0.0)
        for seed, target in enumerate(targets):
            draw(results, name, target, seed=2_000 + seed, part="rerun")
    found = study(results)
    # differences 0.5 and 0: deviation 0.5/√2
    assert found.paired and found.noise == pytest.approx(0.5 / np.sqrt(2))


def test_seed_noise_of_natural_mixing_stands_in(make_results):
    results = make_results()
    for seed, target in enumerate((0.0, 0.4)):
        draw(results, "natural", target, kind="controller", seed=3_000 + seed, part="noise")
    found = study(results)
    assert not found.paired and found.noise == pytest.approx(1.0)  # √2 · deviation of 0 and 1
    assert found.best == ()


def test_kinds_are_told_apart_and_started_runs_counted(make_results):
    results = draw(make_results(), "static-0", 0.1)
    draw(results, "schedule-0", 0.2, kind="open_loop")
    results.add("schedule-1", stage="headroom", part="draw", kind="open_loop", seed=1_001, status="failed")
    found = study(results)
    assert [(best.kind, best.name, best.started) for best in found.best] == [
        ("static", "static-0", 1),
        ("open_loop", "schedule-0", 2),
    ]
    assert found.best[0].fresh is None and np.isnan(found.best[0].curse)
    assert np.isnan(found.noise)


def test_winners_curse_of_pure_noise_is_found(make_results):
    results = make_results()
    rng = np.random.default_rng(0)
    for index in range(30):
        draw(results, f"static-{index}", 0.1 * rng.standard_normal(), seed=1_000 + index)
    winner = max(results.runs, key=lambda run: run["utility_development"])["controller"]
    for seed in range(6):
        draw(results, winner, 0.1 * rng.standard_normal(), seed=2_000 + seed, part="rerun")
    (best,) = study(results).best
    assert best.name == winner
    assert best.curse > 0.3  # the best of 30 draws of deviation 0.25 lies two deviations up
    assert best.fresh.verdict == "tie"
