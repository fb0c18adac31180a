"""What a sampled set is told as: steps without data, and work before it is done."""

import pytest

from dmix.cli.workflows.agents.sample import _ranges, _sample_result

REPORT = {
    "set": "farm",
    "samples_per_step": 1000,
    "run_samples_per_step": 2000,
    "steps": 4,
    "target_supply": 0.5,
    "natural_target_coverage": 0.25,
    "fields": [{"field": "source", "active_domains": 3, "effective_domains": 2.5}],
    "farm_tokens_at_most": 5000,
    "farm_hours_of_a_small_proxy": 1.0,
    "trajectories": 8,
}


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([1, 2, 3], ""),
        ([0, 1, 0, 0, 0, 2], "1, 3-5"),
        ([0, 0], "1-2"),
        ([1, 0], "2"),
        ([], ""),
    ],
)
def test_steps_without_data_are_told_as_ranges(counts, told):
    assert _ranges(counts) == told


def test_a_plan_tells_the_missing_work():
    work = {"missing": 3, "candidate_steps_at_most": 1200, "core_hours_at_most": 0.5}
    said = repr(_sample_result(REPORT | work))
    assert "3 of 8 trajectories are missing" in said and "1,200 steps" in said
    assert (
        "proxies (small models): 4 steps of 1,000 samples each" in said and "4 steps of 2,000 samples" in said
    )
    assert "the whole target text if its share is 50.0% on average" in said
    few = repr(_sample_result(REPORT | work | {"target_supply": 4.0}))
    assert "at most 25.0% of the target text" in few


def test_a_set_tells_its_coverage():
    coverage = {
        "share_edges": [0.0, 0.5, 1.0],
        "trajectories_by_cell_and_step": [[0, 2, 1, 0], [4, 4, 4, 4]],
        "empty_cells": 2,
    }
    result = _sample_result(REPORT | {"coverage": coverage})
    rows = result.df(1)
    assert list(rows["target share"]) == ["0.00 to 0.50", "0.50 to 1.00"]
    assert list(rows["steps without data"]) == ["1, 4", ""] and list(rows["most"]) == [2, 4]
    assert "set farm has 8 trajectories. Of 8 pairs of a step and a range of target shares, 2" in repr(result)
    full = coverage | {"trajectories_by_cell_and_step": [[4] * 4] * 2, "empty_cells": 0}
    assert "each range of target shares has a trajectory" in repr(_sample_result(REPORT | {"coverage": full}))
