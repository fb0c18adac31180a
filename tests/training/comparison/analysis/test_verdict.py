"""The words of a page follow from its numbers."""

from dataclasses import replace

import numpy as np
import pytest
from tests.training.comparison.generated_results import results_below

from dmix.training.comparison.analysis.evidence import read_evidence
from dmix.training.comparison.analysis.selection import headroom
from dmix.training.comparison.analysis.tables import controller_rows
from dmix.training.comparison.analysis.verdict import (
    Hypothesis,
    decisive_difference,
    headroom_words,
    hypothesis,
    stage_words,
)

PAIR = Hypothesis("rl", "natural")

make_results = pytest.fixture(results_below)


def told(results, *, stage="screening", pair=PAIR, adjusted_p=float("nan")):
    evidence = read_evidence(results.write())
    rows = controller_rows(evidence, stage)
    return stage_words(evidence, stage, rows=rows, pair=pair, adjusted_p=adjusted_p)


def compare(results, edge, *, seeds=4, stage="screening", general=0.0, tokens=1_000, noise=0.0):
    """`rl` gains `edge` more on the target than `natural`, on every seed."""
    layers = ("development", "confirmation") if stage == "confirmation" else ("development",)
    for seed in range(seeds):
        shared = {"seed": seed, "stage": stage, "layers": layers}
        jitter = noise * (-1) ** seed
        results.add("rl", gains=(general, 0.2 + edge + jitter), source_tokens=tokens, **shared)
        results.add("natural", gains=(0, 0.2), source_tokens=1_000, **shared)
    return results


def sentence(said, part):
    (found,) = [text for text in said if part in text]
    return found


def test_a_stage_without_scored_runs_says_so(make_results):
    results = make_results().add("rl", status="running")
    evidence = read_evidence(results.write())
    assert stage_words(evidence, "screening", rows=[], pair=PAIR, adjusted_p=1.0) == [
        "No run has been scored yet."
    ]
    assert headroom(evidence) is None and decisive_difference(evidence, PAIR) is None


def test_rival_is_the_best_other_controller_of_screening(make_results):
    results = compare(make_results(), 0.1, seeds=2)
    results.add("naive", gains=(0, 0.1)).add("naive", seed=1, gains=(0, 0.1))
    assert hypothesis(read_evidence(results.write())) == PAIR


def test_setting_names_its_hypothesis(make_results):
    facts = {"hypothesis": {"agent": "mine", "rival": "natural"}}
    folder = compare(make_results(facts=facts), 0.1, seeds=1).write()
    assert hypothesis(read_evidence(folder)) == Hypothesis("mine", "natural")


@pytest.mark.parametrize("alone", ["natural", "rl"])
def test_no_hypothesis_without_an_agent_and_another(make_results, alone):
    assert hypothesis(read_evidence(make_results().add(alone).write())) is None
    assert hypothesis(read_evidence(make_results("none").add(alone, status="failed").write())) is None


@pytest.mark.parametrize(("edge", "words"), [(0.1, "is ahead of"), (-0.1, "is behind"), (0.0, "ties with")])
def test_the_agent_is_told_against_every_other_controller(make_results, edge, words):
    said = told(compare(make_results(), edge))
    assert f"`rl` {words} `natural`." in sentence(said, "95% interval")


def test_others_are_grouped_by_verdict(make_results):
    results = compare(make_results(), 0.1)
    for seed in range(4):
        results.add("regmix", seed=seed, gains=(0, 0.9)).add("naive", seed=seed, gains=(0, 0.1))
    said = sentence(told(results), "95% interval")
    assert said.endswith("`rl` is ahead of `natural`, `naive`; is behind `regmix`.")


def test_an_agent_without_others_is_compared_with_nobody(make_results):
    said = told(make_results().add("rl"), pair=PAIR)
    assert "`rl` is the only controller with scored runs." in said


@pytest.mark.parametrize(
    ("tokens", "words"),
    [(500, "50% fewer than"), (1_500, "50% more than"), (1_004, "as many as"), (1_006, "1% more than")],
)
def test_source_tokens_are_told_against_the_rivals(make_results, tokens, words):
    said = sentence(told(compare(make_results(), 0.1, tokens=tokens)), "source tokens per run")
    assert f", {words} `natural`." in said
    assert ("is on the Pareto front" in said) and "is not" not in said


def test_an_agent_that_costs_more_and_gains_less_is_not_on_the_front(make_results):
    said = sentence(told(compare(make_results(), -0.1, tokens=1_500)), "Pareto front")
    assert "`rl` is not on the Pareto front" in said


def test_a_rival_that_reads_no_source_text_is_not_compared_by_tokens(make_results):
    results = make_results()
    for seed in range(2):
        results.add("rl", seed=seed).add("natural", seed=seed, source_tokens=0)
    assert not any("source tokens per run" in text for text in told(results))


@pytest.mark.parametrize(
    ("general", "words"),
    [(-0.01, "is among them, too; it gains +0.100"), (-0.3, "is not among them; it gains +0.100")],
)
def test_who_keeps_the_source_is_told_with_the_agent(make_results, general, words):
    said = sentence(told(compare(make_results(), -0.1, general=general)), "keep the general score")
    assert said.startswith(f"{1 + (general > -0.1)} of 2 controllers")
    assert "Among them, `natural` gains most on the target (+0.200" in said and words in said


def test_nobody_keeps_the_source(make_results):
    results = make_results().add("rl", gains=(-1.0, 0.2)).add("natural", gains=(-2.0, 0.2))
    assert any(text.startswith("Under every controller") for text in told(results))


def test_noise_is_told_once_two_seeds_are_shared(make_results):
    said = told(compare(make_results(), 0.0, noise=0.04))
    # differences are ±0.04/0.2/2 by turns: standard deviation 0.1 · 2/√3
    assert "deviation of 0.115." in sentence(said, "From seed to seed")
    one = told(compare(make_results("one"), 0.1, seeds=1))
    assert not any("From seed to seed" in text for text in one)


def test_a_decision_needs_both_of_its_pair(make_results):
    results = make_results().add("rl", stage="confirmation", layers=("confirmation",))
    said = told(results, stage="confirmation")
    assert said[0].endswith("`natural` has no scored run yet.")
    evidence = read_evidence(results.folder)
    assert decisive_difference(evidence, PAIR) is None and decisive_difference(evidence, None) is None


def test_one_pair_of_runs_decides_nothing(make_results):
    said = told(compare(make_results(), 0.1, seeds=1, stage="confirmation"), stage="confirmation")
    assert said[0].endswith("One pair of runs gives no interval.")


@pytest.mark.parametrize(
    ("adjusted_p", "end", "lost"),
    [(float("nan"), r"p = 0.00", False), (0.04, "settings.", False), (0.2, "no difference.", True)],
)
def test_a_decision_is_told_before_and_after_the_correction(make_results, adjusted_p, end, lost):
    results = compare(make_results(), 0.1, stage="confirmation", noise=0.01)
    first = told(results, stage="confirmation", adjusted_p=adjusted_p)[0]
    assert first.startswith("**`rl` is ahead of `natural`**") and "4 paired runs and 12 items" in first
    assert ("p is no longer below 0.05" in first) == lost
    assert ("after Holm's correction" in first) == np.isfinite(adjusted_p)


def test_a_tie_is_not_taken_back_by_the_correction(make_results):
    results = compare(make_results(), 0.0, stage="confirmation", noise=0.01)
    first = told(results, stage="confirmation", adjusted_p=0.9)[0]
    assert "ties with" in first and "no longer" not in first


def test_development_items_stand_beside_the_confirmation(make_results):
    results = compare(make_results(), 0.1, stage="confirmation", noise=0.01)
    said = told(results, stage="confirmation")
    assert "the verdict is the same" in sentence(said, "On development items")


def test_the_selected_mixture_is_told_with_what_the_selection_added(make_results):
    results = make_results()
    for name, gain in (("static-0", 0.1), ("static-1", 0.3)):
        results.add(name, stage="headroom", part="draw", kind="static", seed=1, gains=(0, gain))
    first = headroom_words(headroom(read_evidence(results.write())))
    assert "best of 2 static mixtures (2 started) is `static-1`" in first[0]
    assert "too high" in first[0] and "natural mixing" not in " ".join(first)
    for seed in (7, 8):
        fresh = {"stage": "headroom", "seed": seed}
        results.add("static-1", part="rerun", kind="static", gains=(0, 0.2 + 0.01 * seed), **fresh)
        results.add("static-0", part="rerun", kind="static", gains=(0, 0.2), **fresh)
        results.add("natural", part="noise", gains=(0, 0.1 * seed), **fresh)
    study = headroom(read_evidence(results.write()))
    said = headroom_words(study)
    # selected at 0.75; fresh 0.675 and 0.7
    assert "On 2 fresh seeds" in said[0] and "selection added +0.062" in said[0]
    assert "times the noise of a difference" in said[1]
    assert "over 2 runs" in said[2] and "(on shared seeds)" in said[3]
    still = replace(study, noise=float("nan"))
    assert len(headroom_words(still)) == 3 and "times the noise" not in headroom_words(still)[1]


def test_noise_of_natural_mixing_alone_is_told_as_such(make_results):
    results = make_results().add("static-0", stage="headroom", part="draw", kind="static", seed=1)
    for seed in (7, 8):
        results.add("natural", stage="headroom", part="noise", seed=seed, gains=(0, 0.1 * seed))
    said = headroom_words(headroom(read_evidence(results.write())))
    assert "(√2 times that of natural mixing)" in said[-1]
