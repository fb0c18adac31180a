from tests.training.report.fixtures import add_run, report_page

from dmix.warehouse_schema.taxonomy import NVIDIA_26, Taxonomy


def test_no_colour_comes_twice_in_a_drawing(bare_warehouse, tmp_path):
    taxonomy = Taxonomy("nvidia-26", NVIDIA_26)
    for seed in range(3):
        add_run(bare_warehouse, f"run{seed}", taxonomy=taxonomy, steps=3, seed=seed)
    drawn = report_page(bare_warehouse, tmp_path).figures
    for seed in range(3):
        areas = drawn[f"run-run{seed}-domains"][0]["planned|areas"]["data"]
        colours = [area["fillcolor"] for area in areas]
        assert len(set(colours)) == len(colours) == 14
