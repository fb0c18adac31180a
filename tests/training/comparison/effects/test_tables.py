"""The page of effects: every estimator, what chance alone gives, and where scales come from."""

import pytest
from tests.training.comparison.effects.stored_runs import SETTINGS, stored

from dmix.training.comparison.effects.judgement import (
    JUDGING,
    judge,
    yardstick_scales,
)
from dmix.training.comparison.effects.tables import chance_level, judged_page
from dmix.training.comparison.yardstick.csv_rows import csv_rows


def test_table_and_page_hold_every_estimator():
    found = judge(stored(probes=True))
    rows = csv_rows(found).splitlines()
    assert len(rows) == 1 + 2 * 3 * 4
    page = judged_page(SETTINGS, found, planned=12)
    assert "Provisional" not in page and "| `learnt` | 0.500 |" in page
    few = judged_page(SETTINGS, judge(stored(fresh=5)), planned=12)
    assert "Provisional, 5 of 12" in few and "±1" not in few


def test_page_names_the_chance_level_of_its_own_number_of_mixtures():
    # tables: 0.587 of 12 pairs, 0.648 of 10; 24 of 720 orders of six exceed 29/35; 2 of 24 of four give ±1
    assert chance_level(12) == pytest.approx(0.587, abs=0.015)
    assert chance_level(10) == pytest.approx(0.648, abs=0.015)
    assert chance_level(6) == pytest.approx(29 / 35)
    assert chance_level(4) is None and chance_level(1) is None
    page = judged_page(SETTINGS, judge(stored(fresh=6)), planned=6)
    assert "With 6 mixtures" in page and "±0.83" in page and "welve" not in page
    assert "too few" in judged_page(SETTINGS, judge(stored(fresh=4)), planned=4)


def test_page_says_where_weights_and_scales_come_from():
    found = judge(stored())
    assert yardstick_scales(stored(), JUDGING) is None
    assert "The yardstick is not run" in judged_page(SETTINGS, found, planned=12, admitted=False)
    assert "The yardstick is not run" not in judged_page(SETTINGS, found, planned=12, admitted=True)
