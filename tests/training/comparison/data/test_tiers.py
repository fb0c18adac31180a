"""Tiers: named ones, and draws that one farm can serve."""

import pytest

from dmix.training.comparison.data.tiers import TIERS


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_the_draws_of_the_headroom_study_are_part_of_the_farm(tier):
    assert tier.static <= tier.random_paths // 3
    assert tier.open_loop <= tier.random_paths - tier.random_paths // 3
