"""Order in made-up schedules, and the stored page."""

import numpy as np
import pytest
from benchmarks.provenance import RESULTS
from benchmarks.studies.order import (
    FULL,
    SIMPLE,
    mean_columns,
    movement_of,
    order_rows,
    pairs_rows,
    slope_of,
)
from benchmarks.studies.pages import order_answer, order_page
from benchmarks.studies.rows import first_rounds
from tests.benchmarks.studies.made_up import SPACE, STEPS, run, setting

STUDIES = RESULTS / "quality" / "round-3" / "studies"


def schedules(cost, *, name="s", seed=0):
    """Random lines of the target share; U is 1 - mean², less a cost for each unit of slope."""
    rng = np.random.default_rng(seed)
    runs = []
    for number in range(30):
        mean, slope = rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.4) * (0, 1, -1)[number % 3]
        share = mean + slope * np.linspace(-0.5, 0.5, STEPS)
        worth = 1 - mean**2 - cost * slope + rng.normal(0, 0.01)
        runs.append(run(f"r{number}", judged=(worth, worth), share=share, part="draw", setting=name))
    return setting(*runs, name=name, group=name)


def test_slope_and_movement_of_a_line():
    share = np.linspace(0.2, 0.8, 5)
    assert slope_of(share) == pytest.approx(0.6) and slope_of(np.full(5, 0.3)) == pytest.approx(0)
    assert movement_of(np.column_stack([1 - share, share])) == pytest.approx(0.18)


def test_columns_that_do_not_vary_or_depend_on_others_are_left_out():
    means = np.array([run("a", judged=(0, 0), share=s).mixtures_TN.mean(0) for s in (0.1, 0.3, 0.5, 0.9)])
    # natural shares within both fields: only the target share and its square are left
    assert mean_columns(means, SPACE, directions=4).shape == (4, 3)


@pytest.mark.parametrize(("cost", "excludes"), [(0.3, True), (0.0, False)])
def test_the_cost_of_a_slope_is_found(cost, excludes):
    rows = order_rows([schedules(cost), schedules(cost, name="t", seed=1)])
    own = [row for row in rows if (row.setting, row.outcome) == ("s", "U")]
    assert {row.mixture for row in own} >= {SIMPLE, FULL}
    (row,) = [row for row in own if row.mixture == SIMPLE]
    assert (row.runs, row.schedules) == (30, 20)
    assert row.slope == pytest.approx(-cost, abs=0.03) and (row.slope_high < 0) == excludes
    words = "target text late in a run costs U" if excludes else "no effect beyond the mixture"
    assert words in order_answer(rows) and order_answer(rows) in order_page(rows, [])


def test_pairs_of_the_same_mixture_in_another_order():
    up, down = np.linspace(0.2, 0.8, STEPS), np.linspace(0.8, 0.2, STEPS)
    runs = [
        run("up", judged=(0, 0), share=up, part="draw"),
        run("down", judged=(1, 1), share=down, part="draw"),
        run("other", judged=(5, 5), share=0.9, part="draw"),
    ]
    (row,) = pairs_rows([setting(*runs)])
    assert (row.pairs, row.runs, row.earlier_ahead) == (1, 2, 1) and row.difference == pytest.approx(1.0)


def test_the_stored_page_is_that_of_the_stored_rows():
    settings = first_rounds(RESULTS / "quality")
    page = order_page(order_rows(settings), pairs_rows(settings))
    assert (STUDIES / "order.md").read_text(encoding="utf-8") == page
