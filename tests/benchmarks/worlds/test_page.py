"""The page of the worlds follows from the stored rows."""

from pathlib import Path

import pytest
from benchmarks.worlds.page import FIGURE, Promise, figure, page, promises

ROOT = Path(__file__).parents[3] / "benchmarks"
OUT, RESULTS = ROOT / "quality" / "worlds", ROOT / "results" / "quality" / "round-3" / "worlds"


def test_the_stored_page_and_figure_are_those_of_the_stored_rows():
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == page(OUT, RESULTS)
    # last digits of places may differ between processors
    drawn = figure(promises(OUT, RESULTS))
    assert len((RESULTS / FIGURE).read_text(encoding="utf-8").splitlines()) == len(drawn.splitlines())


def test_a_page_without_worlds_says_what_worlds_are(tmp_path):
    content = page(OUT, tmp_path)
    assert content.startswith("# Worlds") and "|" not in content


@pytest.mark.parametrize("world", ["ladder-00", "held-out-03"])
def test_a_figure_has_words_for_those_who_do_not_see_it(world):
    content = figure([Promise(world, "counts-plan", 1.0, 0.5)])
    assert "<desc>What 1 plans promised" in content and "got, U" in content
