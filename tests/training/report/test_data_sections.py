from tests.training.report.fixtures import report_page


def test_domain_table_lists_what_each_field_holds(page):
    rows = next(rows for rows in page.tables if rows[0] == ["", "source", "target"])
    assert rows[2][:6] == ["News", "600", "12,800", "200", "71.43%", "71.43%"]
    assert rows[2][6:] == ["300", "6,400", "100", "71.43%", "71.43%"]
    assert [row[0] for row in rows[2:]] == ["News", "Science & <b>Maths</b>", "all domains"]
    assert rows[-1][1:4] == ["840", "17,920", "280"]


def test_warehouse_without_runs_gives_a_report_on_its_data(warehouse, tmp_path):
    page = report_page(warehouse, tmp_path)
    assert "No run yet" in page.text
    assert page.table("rejected")["main-source"]["documents"] == "30"
    assert page.table("rejected")["main-source"]["rejected"] == "2"
    prefix = "dataset-d0123456789abcde"
    assert list(page.figures) == [f"{prefix}-sizes", f"{prefix}-start"]


def test_empty_warehouse_gives_a_page_that_names_the_first_command(bare_warehouse, tmp_path):
    assert "dmix etl classify" in report_page(bare_warehouse, tmp_path).text
