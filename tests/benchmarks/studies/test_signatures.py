"""Failure signatures of made-up runs: what is bad, which alarms fire and when."""

import numpy as np
import pytest
from benchmarks.studies.ended import EITHER, GENERAL, UTILITY, ended_runs
from benchmarks.studies.pages import signatures_answer, signatures_page
from benchmarks.studies.signals import SIGNALS, Signal, Watched, promise
from benchmarks.studies.signatures import (
    ALL,
    CONTROLLERS,
    MODERATE,
    alarm_rows,
    bad_by_controller,
    carried_rows,
    fired,
)
from tests.benchmarks.studies.made_up import SPACE, STEPS, naturals, run, setting

from dmix.training.comparison.effects.world_plans import WorldPriors

NATURAL = naturals(0.9, 1.0, 1.1)  # mean 1, standard deviation 0.1


def ended(settings, tmp_path):
    return ended_runs(settings, worlds=tmp_path, results=tmp_path)


def level(name, watched):
    (signal,) = [signal for signal in SIGNALS if signal.name == name]
    return signal.level(watched)


@pytest.mark.parametrize(
    ("judged", "utility", "general"),
    [((0.85, 0.85), False, False), ((0.75, 1.5), False, True), ((0.9, 0.6), True, False)],
)
def test_an_end_is_bad_beyond_two_deviations_of_natural_mixing(tmp_path, judged, utility, general):
    found, left = ended([setting(*NATURAL, run("a", judged=judged))], tmp_path)
    (one,) = found
    assert one.ended_badly(UTILITY) == utility and one.ended_badly(GENERAL) == general
    assert one.ended_badly() == (utility or general)
    assert [(row.runs, "natural mixing, the reference" in row.reason) for row in left] == [(3, True)]


def test_runs_without_a_reference_are_counted_with_the_reason(tmp_path):
    found, left = ended([setting(run("a", judged=(1, 1)))], tmp_path)
    assert found == [] and [row.runs for row in left] == [1]


def test_an_alarm_fires_once_its_level_has_exceeded_the_threshold():
    level_T = np.array([0.0, 0.0, 2.0, 0.0])
    assert fired(level_T, 1.0, 0.75) and not fired(level_T, 1.0, 0.5) and not fired(level_T, 2.0, 1.0)
    assert fired(np.array([2.0, 0.0, 0.0, 0.0]), 1.0, 0.1)  # after one step at the earliest


def test_alarms_are_counted_against_ends(tmp_path):
    good = [run(f"good-{n}", judged=(1, 1), share=0.3) for n in range(3)]
    bad = [run("bad", judged=(0, 0), share=[0.3] * 3 + [0.8] * 5, seed=n) for n in range(2)]
    loud = run("loud", judged=(1, 1), share=0.8)
    drawn = run("drawn", judged=(0, 0), share=0.8, part="draw")
    found, _ = ended([setting(*NATURAL, *good, *bad, loud, drawn)], tmp_path)
    signals = [signal for signal in SIGNALS if signal.name == "target share"]
    early = {(r.runs, r.fraction, r.threshold): r for r in alarm_rows(found, signals) if r.end == EITHER}
    row = early[CONTROLLERS, 0.5, 0.7]
    assert (row.watched, row.bad, row.alarms, row.hits) == (6, 2, 3, 2)
    assert (row.precision, row.recall, row.false_alarm) == pytest.approx((2 / 3, 1, 1 / 4))
    assert row.first_alarm == 0.5 and (row.bad_controllers, row.hit_controllers) == (1, 1)
    assert early[CONTROLLERS, 0.25, 0.7].hits == 0 and early[ALL, 0.25, 0.7].hits == 1
    assert early[MODERATE, 0.5, 0.7].watched == 6
    assert bad_by_controller(found)["s", "bad"] == (2, 2, 2)


def test_the_threshold_that_carries_over_is_chosen_without_the_group(tmp_path):
    def group(name, shares):
        runs = [run(f"c{n}", judged=j, share=s, setting=name) for n, (s, j) in enumerate(shares)]
        return setting(*naturals(0.9, 1.0, 1.1, setting=name), *runs, name=name, group=name)

    low, high = ((0.6, (0, 0)), (0.4, (1, 1))), ((0.8, (0, 0)), (0.6, (1, 1)))
    found, _ = ended([group("a", low), group("b", high)], tmp_path)
    signal = Signal("share", "", lambda w: w.run.mixtures_TN @ SPACE.target_N.astype(float), (0.7, 0.5))
    rows = {row.group: row for row in carried_rows(found, [signal])}
    assert rows["a"].threshold == 0.7 and rows["a"].recall == 0 and rows["a"].other_recall == 1
    assert rows["b"].threshold == 0.5 and rows["b"].false_alarm == 1 and rows["b"].other_false_alarm == 0


def test_levels_follow_scores_supply_and_natural_mixing():
    falling = np.vstack([np.zeros(2), np.column_stack([-np.arange(1, 9) / 10, np.zeros(8)])])
    one = run("a", judged=(0, 0), scores=falling, share=np.linspace(0.2, 0.9, STEPS))
    watched = Watched(run=one, setting=setting(one), natural_T=np.ones(8), natural_noise_T=np.full(8, 0.5))
    assert level("general scores below the start", watched)[-1] == pytest.approx(0.8)
    assert level("all scores below the start", watched)[-1] == pytest.approx(0.4)
    assert level("U below the start", watched)[-1] == pytest.approx(0.4)
    assert level("behind natural mixing", watched)[-1] == pytest.approx((1 + 0.4) / 0.5)
    # over two steps the share rises by 0.2 and general scores fall by 0.2: four and two units
    assert level("share up, general down", watched)[-1] == pytest.approx(2)
    # 8 steps of 16 samples with a mean share of 0.55, a third of it from a domain of 10, at most 4 times
    assert level("supply exhausted", watched)[-1] == pytest.approx(8 * 16 * 0.55 / 3 / 40)
    assert level("guard: oscillation", watched) is None and level("fall-back", watched) is None


def test_an_agent_that_returns_to_natural_mixing_falls_back():
    shares = [0.6, 0.6, 0.3, 0.3, 0.6, 0.6, 0.6, 0.6]
    one = run("effect", judged=(0, 0), share=shares, setting="held-out-00")
    natural = run("effect", judged=(0, 0), share=0.3, setting="held-out-00")
    world = setting(one, name="held-out-00", group="worlds")
    assert level("fall-back", Watched(run=one, setting=world)).tolist() == [0, 0, 1, 1, 1, 1, 1, 1]
    assert not level("fall-back", Watched(run=natural, setting=world)).any()


def test_a_promise_widens_with_what_nobody_knows():
    priors = WorldPriors(
        beta=0.5,
        gamma=0.0,
        q=0.0,
        natural_gain={"general": 1.0, "target": 3.0},
        drift=1.0,
        scale=0.0,
        direction=0.0,
        noise=0.2,
    )
    found = promise(
        setting(),
        mixture_N=SPACE.natural_N,
        promised_D=np.array([0.0, 2.0]),
        linear_D=np.zeros(2),
        priors=priors,
        reached_T=np.array([0.0, 1.0]),
    )
    assert found.mean_T == pytest.approx([0.0, 0.5 * 1 + 0.5 * (3 + 1)])
    assert found.stderr_T == pytest.approx(np.sqrt([0.02, 0.5 + 0.02]))


def test_the_page_says_when_no_alarm_is_reliable_and_when_one_is(tmp_path):
    def page(shares):
        runs = [run(f"c{n}", judged=j, share=s, seed=n) for n, (s, j) in enumerate(shares)]
        found, left = ended([setting(*NATURAL, *runs)], tmp_path)
        rows = alarm_rows(found)
        text = signatures_page(rows, carried_rows(found, end=UTILITY), bad_by_controller(found), left)
        assert signatures_answer(rows) in text and "| `c0` |" in text
        return text

    # only the target share separates these ends
    telling = [(0.8, (0.5, 0.7))] * 40 + [(0.4, (1, 1))] * 40
    assert "**Some alarms are reliable.**" in page(telling)
    assert "**No alarm is reliable.**" in page([(0.4, (0.5, 0.7)), (0.4, (1, 1))])
