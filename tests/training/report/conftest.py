import pytest
from tests.training.report.fixtures import HOSTILE, add_run, report_page, warehouse_with_data

from dmix.warehouse_schema.files.layout import Warehouse


@pytest.fixture
def warehouse(tmp_path):
    return warehouse_with_data(tmp_path)


@pytest.fixture
def bare_warehouse(tmp_path):
    """One without anything in it."""
    place = Warehouse.at(tmp_path / "warehouse")
    place.root.mkdir()
    return place


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    """The report on one finished run of three steps, of a controller with a hostile name."""
    root = tmp_path_factory.mktemp("report")
    place = warehouse_with_data(root)
    add_run(place, "one", steps=3, controller=HOSTILE)
    return report_page(place, root)
