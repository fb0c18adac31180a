import pytest
from tests.training.report.fixtures import add_farm, add_run, report_page

from dmix.training.report import write_report
from dmix.training.report.page.build import DEFAULT_RUNS, MAX_FARMS
from dmix.warehouse_schema.catalog.sync import sync
from dmix.warehouse_schema.errors import InputError, NotFoundError
from dmix.warehouse_schema.files.layout import Warehouse


def test_unknown_run_is_refused_with_those_that_there_are(warehouse, tmp_path):
    add_run(warehouse, "one")
    with pytest.raises(NotFoundError, match=r"run 'other' is not in the warehouse.*available: one"):
        report_page(warehouse, tmp_path, runs=("other",))
    assert not (tmp_path / "report.html").exists()


def test_missing_warehouse_and_folder_as_output_are_refused(warehouse, tmp_path):
    with pytest.raises(NotFoundError, match="does not exist"):
        write_report(Warehouse.at(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is a folder"):
        write_report(warehouse, out=tmp_path)


def test_without_names_the_newest_runs_are_shown_and_proxies_are_not(bare_warehouse):
    for number in range(DEFAULT_RUNS + 1):
        add_run(bare_warehouse, f"run{number}", steps=0, feedback=False)
    add_run(bare_warehouse, "farm", steps=0, kind="proxy", feedback=False)
    sync(bare_warehouse)
    written = write_report(bare_warehouse)
    assert written.path == bare_warehouse.root / "report.html"
    assert written.runs == tuple(f"run{number}" for number in range(1, DEFAULT_RUNS + 1))
    html = written.path.read_text(encoding="utf-8")
    assert f"{DEFAULT_RUNS} of {DEFAULT_RUNS + 2} runs" in html


def test_base_models_are_shown_where_there_is_nothing_else(bare_warehouse):
    add_run(bare_warehouse, "base-small", steps=0, kind="base", feedback=False)
    sync(bare_warehouse)
    assert write_report(bare_warehouse).runs == ("base-small",)
    add_run(bare_warehouse, "agent", steps=0, feedback=False)
    sync(bare_warehouse)
    written = write_report(bare_warehouse)
    assert written.runs == ("agent",)
    assert "1 of 2 runs (1 of them base models)" in written.path.read_text(encoding="utf-8")


def test_sets_beyond_the_first_ones_are_counted(bare_warehouse, tmp_path):
    for number in range(MAX_FARMS + 1):
        add_farm(bare_warehouse, set_name=f"farm{number}", paths=1, steps=1, scored=False)
    page = report_page(bare_warehouse, tmp_path)
    assert f"{MAX_FARMS} of {MAX_FARMS + 1} sets of trajectories" in page.text
    assert f"set-farm{MAX_FARMS}" not in page.ids


def test_one_named_run_is_reported_in_its_own_folder(warehouse):
    add_run(warehouse, "one", steps=1)
    sync(warehouse)
    written = write_report(warehouse, runs=["one"])
    assert written.path == warehouse.run("one") / "report.html"
    assert written.running == ()


def test_page_loads_itself_anew_only_while_a_run_is_under_way(warehouse):
    add_run(warehouse, "one", steps=1, done=False)
    written = write_report(warehouse, reload_seconds=7)
    assert written.running == ("one",)
    assert 'data-seconds="7"' in written.path.read_text(encoding="utf-8")
    add_run(warehouse, "one", steps=1)
    written = write_report(warehouse, reload_seconds=7)
    assert written.running == ()
    assert "data-seconds" not in written.path.read_text(encoding="utf-8")
