import itertools

from tests.training.report.fixtures import add_run, report_page

from dmix.training.report.figures.bands import num_named, split_rest
from dmix.warehouse_schema.taxonomy import NVIDIA_26, Taxonomy


def test_no_colour_comes_twice_in_a_drawing(bare_warehouse, tmp_path):
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    for seed in range(3):
        add_run(bare_warehouse, f"run{seed}", taxonomy=taxonomy, steps=3, seed=seed)
    drawn = report_page(bare_warehouse, tmp_path).figures
    for seed in range(3):
        areas = drawn[f"run-run{seed}-domains"][0]["planned|areas"]["data"]
        colours = [area["fillcolor"] for area in areas]
        named = [colour for colour in colours if "other" not in colour]
        assert len(set(named)) == len(named) >= 12
        assert all(one != other for one, other in itertools.pairwise(colours))


def test_more_domains_get_a_colour_while_the_rest_is_the_largest_area():
    assert num_named([]) == 0
    assert num_named([5, 1, 1]) == 3
    assert num_named([9, 1, 1, 1, 1, 1, 1, 1]) == 6  # 2 are left, below 9
    assert num_named([2, 1, 1, 1, 1, 1, 1, 1, 1]) == 7  # 3 would be left after 6
    assert num_named([1] * 20) == 8


def test_the_rest_is_split_into_areas_below_the_largest():
    assert split_rest([], limit=1) == []
    assert split_rest([2, 1, 1, 1, 1], limit=3) == [2, 3]
    assert split_rest([1, 1], limit=1) == [1, 1]
