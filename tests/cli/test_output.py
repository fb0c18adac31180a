import json
import math
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest

from dmix.cli.output import plain, say, show_json, show_rows, show_table


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


def test_long_cells_are_cut_in_tables_alone(capsys):
    config = json.dumps({"key": "x" * 200})
    show_rows(["agent", "config"], [("first", config)], form="table")
    shown = capsys.readouterr()
    assert max(map(len, shown.out.splitlines())) < 100 and "…" in shown.out
    assert shown.err.startswith("cells longer than 80 characters are cut")
    show_rows(["agent", "config"], [("first", config)], form="csv")
    shown = capsys.readouterr()
    assert "x" * 200 in shown.out and shown.err == ""
