"""Cells, bars and sort keys of the report's tables."""

from dmix.training.report.page.tables import Cell, pairs_list, share_cell, table


def test_numbers_are_grouped_and_sort_by_value():
    shown = table(["domain", "documents"], [["News", 12345]], caption="Sizes")
    assert "12,345" in shown and '"12345"' in shown and "Sizes" in shown


def test_text_is_escaped():
    assert "<b>" not in table(["domain"], [["<b>News</b>"]], caption="<b>")


def test_bars_are_relative_to_the_longest_of_their_column():
    rows = [["a", Cell("20%", 0.2, 0.2)], ["b", Cell("40%", 0.4, 0.4, "target")]]
    shown = table(["domain", "share"], rows, caption="Shares")
    assert "--share:0.500;--bar:var(--source)" in shown
    assert "--share:1.000;--bar:var(--target)" in shown


def test_a_table_without_rows_has_its_headings():
    assert "documents" in table(["domain", "documents"], [], caption="Empty")


def test_shares_that_are_small_zero_or_unknown():
    assert [share_cell(share, "source").text for share in (0.125, 0.00001, 0)] == ["12.50%", "<0.01%", "0"]
    assert share_cell(None, "source") is None
    assert share_cell(float("nan"), "source") is None


def test_pairs_leave_out_what_is_none_or_empty():
    shown = pairs_list({"documents": 0, "name": "", "seed": None, "tokens": 4000})
    assert "documents" in shown and "4,000" in shown
    assert "name" not in shown and "seed" not in shown
