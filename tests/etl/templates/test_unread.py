"""Records that were not read, and the flag that reads them."""

import json
import shlex

import pytest

from dmix.etl.publishing.rejects import REASONS, Reject
from dmix.etl.reading.documents import Columns
from dmix.etl.templates.alternatives import Alternatives
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import template_of
from dmix.etl.templates.unread import Unread, columns_of_record, reason_text, text_flag

TEXT = Alternatives(None, ("text",))


def without_text(unread, record, times=1):
    for position in range(times):
        unread.add(Reject("a.jsonl", position + 1, "missing_text", f"{list(record)}", json.dumps(record)))


def test_all_names_of_the_text_are_in_one_flag():
    unread = Unread(read=TEXT)
    without_text(unread, {"id": 1, "content": "x"}, times=2)
    without_text(unread, {"id": 2, "body": "x"}, times=3)
    assert unread.other_columns == (("id", "body"), ("id", "content"))
    lines = unread.lines(others_read=True)
    assert len(lines) == 2 and all("--template first:text,body,content" in line for line in lines)
    assert all("--template first:body,content" in line for line in unread.lines(others_read=False))


def test_the_same_fault_in_many_files_is_one_line():
    unread = Unread(read=TEXT)
    for number in range(12):
        unread.add(Reject(f"{number}.txt", 1, "invalid_utf8", "byte 3 of the text: invalid", "caf"))
    unread.add(Reject("a.jsonl", 4, "malformed_json", "invalid literal", "not json"))
    first, second = unread.lines(others_read=False)
    assert first.startswith(
        "12 records not read in 12 files, reason invalid_utf8; the first is record 1 of 0.txt"
    )
    assert first.endswith("(convert each file, for example: iconv -f latin1 -t utf-8 OLD > NEW)")
    assert second.startswith("1 record not read, reason malformed_json; the first is record 4 of a.jsonl")


def test_a_text_that_is_null_is_not_taken_for_one_under_another_name():
    unread = Unread(read=TEXT)
    without_text(unread, {"text": None})
    without_text(unread, {"id": 1, "body": "x"})
    null, body = sorted(unread.lines(others_read=True), key=lambda line: "body" in line)
    assert null.endswith("(their text is null)") and "--template first:text,body" in body


def test_every_reason_has_words():
    assert "not UTF-8" in reason_text("invalid_utf8") and "iconv" in reason_text("invalid_utf8")
    assert all(reason_text(reason).startswith(words) for reason, words in REASONS.items())


def test_one_flag_reads_chats_and_columns_too():
    unread = Unread(read=TEXT)
    without_text(unread, {"content": "x"}, times=3)
    without_text(unread, {"messages": []}, times=2)
    without_text(unread, {"abstract": "x"})
    chats, content, other = sorted(unread.lines(others_read=True), key=lambda line: "abstract" in line)[0:3]
    assert "--template chat,first:text,content" in chats and "--template chat,first:text,content" in content
    assert "for example --template first:text,abstract" in other


def test_one_name_needs_no_template():
    unread = Unread(read=TEXT)
    without_text(unread, {"id": 1, "content": "x"})
    (line,) = unread.lines(others_read=False)
    assert "--text-column content" in line


@pytest.mark.parametrize(
    ("columns", "flag"),
    [
        (["id", "messages", "content"], "--template chat"),
        (["id", "Body"], "--text-column Body"),
        (["id", "url", "abstract"], "--text-column abstract"),
        (["id"], "for example --text-column COLUMN"),
    ],
)
def test_the_flag_follows_from_the_columns(columns, flag):
    assert flag in text_flag(columns)


def test_columns_are_those_of_the_record_alone():
    prefix = '{"a": {"b": 1}, "c": "d: e", "f": [{"g": 1}], "h": "cut'
    assert columns_of_record(prefix) == ["a", "c", "f", "h"]


def test_beside_a_template_that_takes_no_addition_no_flag_is_proposed():
    advice = text_flag(["content", "url"], read=None)
    assert "rename" in advice and "--" not in advice


GIVEN = ["chat", "instruction", "first:title", "chat,first:title", "{title}"]
RECORDS = [["content"], ["messages"], ["prompt", "response"], ["abstract"], ["id"]]


@pytest.mark.parametrize("columns", RECORDS)
@pytest.mark.parametrize("given", [None, *GIVEN])
def test_a_proposed_flag_is_accepted_and_reads_what_was_read(given, columns):
    before = TextSettings(template=given) if given else TextSettings(text_column="title")
    advice = text_flag(columns, read=Columns.of(before).alternatives)
    if "--" not in advice:
        assert given == "{title}"
        return
    words = shlex.split(advice[advice.index("--") :])
    assert len(words) == 2 and words[0] == "--template"  # --text-column would lose what is read now
    template = template_of(TextSettings(template=words[1]))
    kept = {"first:title": "title", "chat,first:title": "title", None: "title"}.get(given)
    assert kept is None or template.text_of({kept: "x"}) == "x"
    if given in ("chat", "chat,first:title"):
        assert template.text_of({"messages": [{"role": "user", "content": "x"}]}) == "User: x"
    if columns == ["content"]:
        assert template.text_of({"content": "x"}) == "x"
