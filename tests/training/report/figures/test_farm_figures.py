import pytest
from tests.training.report.fixtures import add_farm, report_page


@pytest.fixture
def drawn(warehouse, tmp_path):
    add_farm(warehouse)
    return report_page(warehouse, tmp_path).figures


def test_coverage_counts_every_trajectory_once_a_step_and_leaves_empty_cells_empty(drawn):
    cells = drawn["set-farm-coverage"][0][""]["data"][0]
    counts = [[row[step] or 0 for row in cells["z"]] for step in range(4)]
    assert [sum(step) for step in counts] == [6, 6, 6, 6]
    assert None in cells["z"][5]
    assert (cells["y"][0], cells["y"][-1]) == ("98% to 100%", "0% to 2%")


def test_colours_of_coverage_stand_for_whole_trajectories(drawn):
    cells = drawn["set-farm-coverage"][0][""]["data"][0]
    assert cells["zmin"] == 1 and cells["zmax"] >= 2
    assert cells["colorbar"]["dtick"] == int(cells["colorbar"]["dtick"]) >= 1


def test_trajectories_are_one_trace_a_group_with_gaps_between_paths(drawn):
    traces = drawn["set-farm-paths"][0][""]["data"]
    assert [trace["name"] for trace in traces] == [
        "inductive, K = 1 (2)",
        "inductive, K = 100 (2)",
        "segments (2)",
    ]
    assert traces[0]["y"][0] == 0
    assert traces[0]["y"][5] is None


def test_contrasts_show_raised_lowered_and_all_steps_of_each_objective(drawn):
    variants = drawn["set-farm-contrasts"][0]
    assert len(variants) == 2 * 3 * 2
    maths = {trace["name"]: trace for trace in variants["o1|fields|raw"]["data"]}
    assert set(maths) == {"raised", "lowered", "all steps"}
    assert maths["raised"]["y"] == ["source", "target"]
    assert maths["raised"]["x"][1] > maths["all steps"]["x"][1] > maths["lowered"]["x"][1]


def test_set_without_feedback_says_what_is_missing(warehouse, tmp_path):
    add_farm(warehouse, scored=False)
    page = report_page(warehouse, tmp_path)
    assert "dmix mix collect" in page.text
    assert "set-farm-contrasts" not in page.figures
