"""Item scores become paired arrays, and utility follows from them."""

import numpy as np
import pytest
from tests.training.comparison.generated_results import OBJECTIVES, WATCHED, results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.warehouse_schema.errors import InputError

make_results = pytest.fixture(results_below)


def test_utility_by_hand(make_results):
    # ½ · (−0.05)/0.1 + ½ · 0.3/0.2 = −0.25 + 0.75
    folder = make_results().add("natural", gains=(-0.05, 0.3)).write()
    panel = read_evidence(folder).panel("screening", "development")
    assert panel.utility_CS.tolist() == [[pytest.approx(0.5)]]
    assert panel.role_CS("general", gain=True)[0, 0] == pytest.approx(-0.05)
    # base scores are −2 … −2.5, −2.25 in the mean
    assert panel.role_CS("target")[0, 0] == pytest.approx(-1.95)


def test_watched_objectives_do_not_count_but_are_told(make_results):
    results = make_results(objectives=(*OBJECTIVES, WATCHED))
    panel = read_evidence(results.add("a", gains=(0, 0.4, 0.1)).write()).panel("screening", "development")
    assert panel.utility_CS[0, 0] == pytest.approx(1.0)
    assert list(panel.slices) == ["all items", "out of origin"]
    assert panel.slices["out of origin"].utility_CS[0, 0] == pytest.approx(0.5)
    assert (panel.counted_items, panel.slices["out of origin"].counted_items) == (12, 6)


def test_near_duplicates_can_be_left_out(make_results):
    panel = read_evidence(make_results().add("a", near_duplicate=(0, 1), noise=0.1).write()).panel(
        "screening", "development"
    )
    part = panel.slices["without near-duplicates"]
    assert part.counted_items == 8
    expected = panel.gains_CSI[0, 0][~panel.near_duplicate_I].reshape(2, 4).mean(axis=1) / (0.1, 0.2)
    assert part.utility_CS[0, 0] == pytest.approx(expected.mean())


def test_agents_that_differ_in_their_own_seed_are_averaged(make_results):
    results = make_results()
    results.add("rl", agent_seed=0, gains=(0, 0.2)).add("rl", agent_seed=1, gains=(0, 0.4))
    panel = read_evidence(results.write()).panel("screening", "development")
    assert panel.pairs == ((0, 0),)
    assert panel.utility_CS[0, 0] == pytest.approx(0.75)


def test_differences_are_paired_by_seed(make_results):
    # seeds differ by a lot, controllers by 0.02/0.2/2 = 0.05 on every seed
    results = make_results()
    for seed in range(4):
        results.add("a", seed=seed, gains=(0, seed + 0.02)).add("b", seed=seed, gains=(0, seed))
    results.add("b", seed=9, gains=(0, 50.0))
    panel = read_evidence(results.write()).panel("screening", "development")
    found = panel.difference("a", "b")
    assert (found.value, found.seeds, found.verdict) == (pytest.approx(0.05), 4, "above")
    assert panel.utility("a").verdict == "tie"


def test_runs_without_usable_scores_are_no_point(make_results):
    results = make_results().add("a").add("b")
    results.items[0]["score"] = float("nan")
    panel = read_evidence(results.write()).panel("screening", "development")
    assert panel.controllers == ("b",)


def test_runs_on_other_items_are_refused(make_results):
    results = make_results().add("a").add("b")
    results.items.pop()
    with pytest.raises(InputError, match="scores on 11 development items, but all units together have 12"):
        read_evidence(results.write()).panel("screening", "development")


def test_items_of_an_unknown_objective_are_refused(make_results):
    results = make_results().add("a")
    results.items[0]["objective"] = "riddles"
    with pytest.raises(InputError, match="items contain 'riddles'"):
        read_evidence(results.write()).panel("screening", "development")


def test_stage_without_finished_runs_has_no_panel(make_results):
    evidence = read_evidence(make_results().add("a", status="running").write())
    assert evidence.panel("screening", "development") is None
    assert len(evidence.stage("screening")) == 1


def test_best_first(make_results):
    results = make_results().add("a", gains=(0, 0.1)).add("b", gains=(0, 0.3))
    assert read_evidence(results.write()).panel("screening", "development").best_first() == ["b", "a"]


def test_bases_are_pairs_of_their_own(make_results):
    results = make_results()
    for base in (0, 1):
        results.add("a", base=base, gains=(0, 0.1 * base))
    panel = read_evidence(results.write()).panel("screening", "development")
    only = panel.at_pairs(np.array([False, True]))
    assert only.pairs == ((0, 1),)
    assert only.utility("a").value == pytest.approx(0.25)
