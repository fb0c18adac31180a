import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from dmix.cli.show.output import plain, say, show_json, show_rows, show_table, table_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (-math.inf, None),
        (1.5, 1.5),
        (Decimal("3.00"), 3),
        (Decimal("3.25"), 3.25),
        (Decimal("NaN"), None),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, 4), "2026-01-02T03:04:00"),
        (timedelta(minutes=1), 60.0),
        (b"\x01\xff", "01ff"),
        ({1: (math.nan, [True])}, {"1": [None, [True]]}),
        (None, None),
    ],
)
def test_plain_values_fit_into_json(value, expected):
    assert plain(value) == expected


def test_json_on_stdout_and_messages_on_stderr(capsys):
    show_json({"ä": math.nan})
    say("working")
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"ä": None}
    assert "ä" in captured.out
    assert captured.err == "working\n"


def test_lists_in_csv_are_json(capsys):
    show_rows(["a", "a"], [([1, 2], 'say "x", y')], form="csv")
    assert capsys.readouterr().out == 'a,a\n"[1, 2]","say ""x"", y"\n'


@pytest.mark.parametrize(("form", "expected"), [("json", "[]\n"), ("jsonl", ""), ("csv", "a\n")])
def test_no_rows_are_still_a_document(capsys, form, expected):
    show_rows(["a"], [], form=form)
    assert capsys.readouterr().out == expected


def test_tables_align_numbers_and_leave_nulls_empty(capsys):
    show_table(["name", "count"], [("x", 1234567), ("longer", None)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["x", "│", "1,234,567"]
    assert lines[3].split() == ["longer", "│"]


def test_text_in_tables_is_not_markup(capsys):
    show_table(["a"], [("[bold]x[/bold] [/]",)])
    assert "[bold]x[/bold] [/]" in capsys.readouterr().out


CONFIG = json.dumps({"key": "x" * 300, "steps": [1, 2]})


def test_long_cells_are_cut_in_tables_alone(capsys):
    rows = [("first", CONFIG), ("second", CONFIG)]
    show_rows(["agent", "config"], rows, form="table")
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    assert len(lines) == 2 + len(rows) and max(map(len, lines)) <= 200  # one line per row
    assert lines[2].split()[0] == "first" and lines[2].rstrip().endswith("…")
    assert shown.err.startswith("the table cuts cells after 191 characters; use --format list")
    show_rows(["agent", "config"], rows, form="csv")
    shown = capsys.readouterr()
    assert "x" * 300 in shown.out and shown.err == ""


def test_cells_that_fit_are_not_cut(capsys):
    show_rows(["a", "b"], [("x" * 150, 1), ("y", 2)], form="table")
    shown = capsys.readouterr()
    assert "x" * 150 in shown.out and shown.err == ""


def test_a_single_row_that_does_not_fit_is_a_list_with_its_json_unfolded(capsys):
    show_rows(["agent", "config"], [("first", CONFIG)], form="table")
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert lines[:2] == ["agent   first", "config  {"]
    assert f'         "key": "{"x" * 300}",' in lines
    show_rows(["a"], [(3,)], form="table")
    assert "━" in capsys.readouterr().out


def test_more_columns_than_a_line_has_room_for_are_lists(capsys):
    columns = [f"column_{i}_of_a_very_wide_view" for i in range(40)]
    show_rows(columns, [range(40), range(40)], form="table")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{columns[0]:<29}  0"
    assert len(lines) == 2 * 40 + 1 and lines[40] == ""


def test_lists_keep_text_that_only_looks_like_json(capsys):
    show_rows(["text", "none"], [("{not json", None)], form="list")
    assert capsys.readouterr().out == "text  {not json\nnone\n"


def test_no_rows_are_an_empty_table(capsys):
    show_rows(["a", "b"], [], form="table")
    assert capsys.readouterr().out.split() == ["a", "┃", "b", "━━╇━━"]


def test_a_table_as_text_has_no_colours_where_a_notebook_forces_them(monkeypatch):
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # as a kernel of Jupyter sets them
        monkeypatch.setenv(name, "1")
    assert "\x1b" not in table_text(["a", "b"], [(1, "x")], title="title")


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_data_for_a_terminal_has_no_control_characters(capsys, monkeypatch, form):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    show_rows(["a"], [("\x9b2J\u202e",)], form=form)
    shown = capsys.readouterr().out
    assert "9b2J" in shown and "202e" in shown
    assert not set(shown) & {"\x9b", "\u202e"}


def test_csv_for_a_file_keeps_every_character(capsys):
    show_rows(["a"], [("\x9b\u202e",)], form="csv")
    assert capsys.readouterr().out == "a\n\x9b\u202e\n"


def test_messages_hide_credentials_of_urls(capsys):
    say("cannot reach s3://KEY:SECRET@bucket/x")
    assert capsys.readouterr().err == "cannot reach s3://…@bucket/x\n"
