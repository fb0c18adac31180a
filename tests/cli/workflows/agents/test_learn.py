"""Agents are not trained on half a farm without a word."""

from dmix.cli.workflows.agents.learn import unfinished_farm
from dmix.warehouse_schema.files.layout import Warehouse


def test_a_farm_with_some_feedback_is_called_unfinished(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    for folder, count in ((warehouse.trajectories("farm"), 5), (warehouse.feedback("farm"), 2)):
        folder.mkdir(parents=True)
        for number in range(count):
            (folder / f"static-{number:04d}.parquet").touch()
    warning = unfinished_farm(warehouse, "farm")
    assert "2 of 5 trajectories" in warning
    assert "dmix mix collect --set farm" in warning


def test_farms_with_all_feedback_or_none_are_not(tmp_path):
    warehouse = Warehouse.at(tmp_path)
    warehouse.trajectories("farm").mkdir(parents=True)
    (warehouse.trajectories("farm") / "static-0000.parquet").touch()
    assert unfinished_farm(warehouse, "farm") is None
    warehouse.feedback("farm").mkdir(parents=True)
    (warehouse.feedback("farm") / "static-0000.parquet").touch()
    assert unfinished_farm(warehouse, "farm") is None
