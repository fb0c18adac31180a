"""The page of the confirmation, from rows written by hand."""

import dataclasses

from benchmarks.confirmation import page
from tests.training.comparison.rivals.cell_rows import PROTOCOL, SPACE, stored

from dmix.training.comparison.yardstick.designs import target_mixture

CELLS = {
    "counts-plan": target_mixture(0.5, SPACE),
    "natural": SPACE.natural_N,
    "grid": SPACE.natural_N,
    "regmix": SPACE.natural_N,
    "effect": target_mixture(0.5, SPACE),
}


def test_the_page_has_a_row_for_each_cell_and_each_hypothesis():
    text, rows = page({"s": stored(CELLS)}, PROTOCOL)
    assert [row.cell for row in rows] == ["natural", "grid", "regmix", "effect"]
    for cell in CELLS:
        assert f"| `{cell}` |" in text
    of_objectives = text[text.index("| objective | weight |") :]
    assert "mean without `" in of_objectives and of_objectives.count("| `") > 2
    verdicts = [line for line in text.splitlines() if line.startswith("| s |")]
    assert len(verdicts) == 2 and "All 40 runs are done" in text and "Not finished" not in text


def test_a_setting_that_is_not_finished_says_which_runs_are_missing():
    protocol = dataclasses.replace(PROTOCOL, settings=("s", "other"))
    text, rows = page({"s": stored(CELLS, seeds=1)}, protocol)
    assert rows == [] and "`counts-plan` 4" in text and "Not finished: s, other" in text
