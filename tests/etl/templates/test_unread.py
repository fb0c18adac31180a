"""Records that were not read, and the flag that reads them."""

import json

import pytest

from dmix.etl.publishing.rejects import Reject
from dmix.etl.templates.unread import Unread, columns_of_record, text_flag


def without_text(unread, record, times=1):
    for position in range(times):
        unread.add(Reject("a.jsonl", position + 1, "missing_text", f"{list(record)}", json.dumps(record)))


def test_all_names_of_the_text_are_in_one_flag():
    unread = Unread(asked=("text",))
    without_text(unread, {"id": 1, "content": "x"}, times=2)
    without_text(unread, {"id": 2, "body": "x"}, times=3)
    assert unread.text_columns == ("body", "content")
    lines = unread.lines(others_read=True)
    assert len(lines) == 2 and all("--template first:text,body,content" in line for line in lines)
    assert all("--template first:body,content" in line for line in unread.lines(others_read=False))


def test_one_name_needs_no_template():
    unread = Unread(asked=("text",))
    without_text(unread, {"id": 1, "content": "x"})
    (line,) = unread.lines(others_read=False)
    assert "--text-column content" in line


def test_advice_that_the_reject_holds_is_not_repeated():
    unread = Unread(asked=("text",))
    detail = "no text in column 'text'; the columns are messages (use --template chat)"
    unread.add(Reject("a.jsonl", 1, "missing_text", detail, json.dumps({"messages": []})))
    (line,) = unread.lines(others_read=False)
    assert line.count("--template chat") == 1


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        (["id", "messages", "content"], "--template chat"),
        (["id", "Body"], "--text-column Body"),
        (["id", "url", "abstract"], "--text-column abstract"),
        (["id"], "give the text column with --text-column"),
    ],
)
def test_the_flag_follows_from_the_columns(columns, flag):
    assert flag in text_flag(columns)


def test_messages_are_no_column_of_text():
    unread = Unread(asked=("text",))
    without_text(unread, {"messages": [], "content": "x"})
    assert unread.text_columns == ()


def test_columns_are_those_of_the_record_alone():
    prefix = '{"a": {"b": 1}, "c": "d: e", "f": [{"g": 1}], "h": "cut'
    assert columns_of_record(prefix) == ["a", "c", "f", "h"]


def test_beside_a_template_no_flag_is_proposed_that_excludes_it():
    advice = text_flag(["content", "url"], beside=["text"], templated=True)
    assert "rename" in advice and "--" not in advice
