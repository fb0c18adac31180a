import pytest
from tests.training.report.fixtures import add_screening, report_page


def test_domain_table_lists_what_each_field_holds(page):
    rows = next(rows for rows in page.tables if rows[0] == ["", "source", "target"])
    assert rows[2][:6] == ["News", "600", "12,800", "200", "71.43%", "71.43%"]
    assert rows[2][6:] == ["300", "6,400", "100", "71.43%", "71.43%"]
    assert [row[0] for row in rows[2:]] == ["News", "Science & <b>Maths</b>", "all domains"]
    assert rows[-1][1:4] == ["840", "17,920", "280"]


def test_warehouse_without_runs_gives_a_report_on_its_data(warehouse, tmp_path):
    page = report_page(warehouse, tmp_path)
    assert "no run yet" in page.text
    assert page.table("rejected")["main-source"]["documents"] == "30"
    assert page.table("rejected")["main-source"]["rejected"] == "2"
    prefix = "dataset-d0123456789abcde"
    assert list(page.figures) == [f"{prefix}-sizes", f"{prefix}-start"]


def test_natural_mixing_has_the_target_share_of_the_dataset(warehouse, tmp_path):
    # 280 source samples and 140 target samples
    assert report_page(warehouse, tmp_path).facts["Target share of natural mixing"] == "33%"


def test_empty_warehouse_gives_a_page_that_names_the_first_command(bare_warehouse, tmp_path):
    assert "dmix etl classify" in report_page(bare_warehouse, tmp_path).text


def test_corpora_say_what_was_not_looked_for_and_how_to(page):
    row = page.table("rejected")["main-source"]
    assert row["rejected because"] == "empty 2" if row["rejected because"] else True
    assert row["copies"] == row["with an item"] == "not searched"
    assert "dmix etl duplicates" in page.text and "dmix etl contamination" in page.text
    assert "Rejected documents have no domain" in page.text


@pytest.fixture
def screened(warehouse, tmp_path):
    add_screening(warehouse, "duplicates", [("source", "News"), ("source", "News"), ("target", "Games")])
    add_screening(warehouse, "contamination", [])
    return report_page(warehouse, tmp_path)


def test_what_was_found_is_counted_by_corpus(screened):
    rows = screened.table("rejected")
    assert (rows["main-source"]["copies"], rows["main-target"]["copies"]) == ("2", "1")
    assert rows["main-source"]["with an item"] == "0"
    assert "dmix etl duplicates" not in screened.text
    assert screened.facts["Found in its text"] == "3 copies (kept)"


def test_what_was_found_is_counted_by_field_and_domain(screened):
    rows = next(rows for rows in screened.tables if rows[0] == ["", "source", "target"])
    copies = [index for index, name in enumerate(rows[1]) if name == "copies"]
    assert len(copies) == 2
    assert {row[0]: [row[index] for index in copies] for row in rows[2:]} == {
        "News": ["2", "0"],
        "Science & <b>Maths</b>": ["0", "0"],
        "Games": ["0", "1"],
        "all domains": ["2", "1"],
    }
