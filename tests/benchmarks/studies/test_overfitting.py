"""Excess gaps of made-up runs."""

import numpy as np
import pytest
from benchmarks.studies.overfitting import (
    FIXED,
    LEARNED,
    LISTENING,
    PLANS,
    at_the_same_utility,
    class_rows,
    gaps,
    kind_of,
    reader_rows,
)
from benchmarks.studies.pages import overfitting_answer, overfitting_page
from tests.benchmarks.studies.made_up import naturals, run, setting


@pytest.mark.parametrize(
    ("controller", "part", "kind"),
    [
        ("rl", "controller", LEARNED),
        ("agent:dmix-base", "controller", LEARNED),
        ("effect", "world", LISTENING),
        ("regmix", "controller", PLANS),
        ("segments-0001", "rerun", PLANS),
        ("segments-0001", "draw", FIXED),
        ("naive", "controller", FIXED),
    ],
)
def test_controllers_have_a_class_by_what_they_read(controller, part, kind):
    assert kind_of(run(controller, judged=(0, 0), part=part)) == kind


def test_the_gap_of_natural_mixing_is_taken_off():
    natural = [run("natural", judged=(1, 1), feedback=(1.5, 1.5), seed=n) for n in range(2)]
    rl = [run("rl", judged=(2, 2), feedback=(2.8, 2.8), seed=n) for n in range(2)]
    found, levels = gaps([setting(*natural, *rl)])
    assert [gap.excess for gap in found] == pytest.approx([0.3, 0.3]) and levels["s"].tolist() == [1.5, 1.0]
    (row,) = class_rows(found)
    assert (row.kind, row.runs, row.units) == (LEARNED, 2, 1) and row.judged == pytest.approx(1.0)
    assert np.isnan(row.excess_low)  # runs of one controller are one
    only, _ = gaps([setting(*natural, run("rl", judged=(2, 9), feedback=(2.5, 10)))], without="learnt")
    assert only[0].excess == pytest.approx(0.0)


def test_readers_are_compared_at_the_same_utility():
    # a tenth of U is a gap without reading; readers add 0.2
    utility = np.array([-2.0, -1.0, 0.0, 1.0, 2.0, 3.0])
    noise = np.array([1, -1, 1, -1, 1, -1]) * 1e-3
    fixed = np.column_stack([utility, utility, 0.1 * utility + noise])
    readers = np.column_stack([utility[3:], utility[3:], 0.1 * utility[3:] + 0.2])
    found = at_the_same_utility(readers, fixed)
    assert found.value == pytest.approx(0.2, abs=5e-3) and found.low > 0.19


def test_worlds_are_compared_in_pairs_and_the_page_names_the_difference():
    worlds = []
    for number, excess in enumerate((0.1, 0.2, 0.3)):
        name = f"held-out-{number:02d}"
        runs = naturals(1.0, 1.0, setting=name)
        runs.append(run("counts-plan", judged=(2, 2), feedback=(2.5, 2.5), setting=name))
        runs.append(run("effect", judged=(2, 2), feedback=(2.5 + excess,) * 2, setting=name))
        worlds.append(setting(*runs, name=name, group="worlds"))
    found, _ = gaps(worlds)
    rows = {row.comparison: row for row in reader_rows(found)}
    pair = rows["`effect` − `counts-plan`"]
    assert pair.readers == 3 and pair.difference == pytest.approx(0.2) and pair.low < 0 < pair.high
    assert rows["`counts-plan` − `natural`"].low == pytest.approx(0.5)
    answer = overfitting_answer(list(rows.values()))
    assert answer.startswith("**Controllers gain more on the items that they read.**")
    assert answer in overfitting_page(class_rows(found), list(rows.values()), without=[])
    assert "**No over-fitting shows" in overfitting_answer([pair])
