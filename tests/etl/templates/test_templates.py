import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dmix.etl.publishing.rejects import REASONS
from dmix.etl.templates.conversations import CONVERSATIONS, PAIRS, Refusal
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import Chat, parsed, template_of
from dmix.warehouse_schema.errors import InputError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Name a planet."},
    {"role": "assistant", "content": "Mars."},
]


def made(template):
    return template_of(TextSettings(template=template))


def test_named_templates_write_plain_text():
    assert made("chat").text_of({"messages": TALK}) == (
        "System: Be brief.\n\nUser: Name a planet.\n\nAssistant: Mars."
    )
    record = {"instruction": "Add.", "input": "1, 2", "output": "3"}
    assert made("instruction").text_of(record) == "Add.\n\n1, 2\n\n3"


def test_columns_in_braces_are_filled_in():
    template = made(r"# {title}\n\n{body} {{end}}")
    assert template.columns == ("title", "body")
    assert template.text_of({"title": "One", "body": "two"}) == "# One\n\ntwo {end}"
    assert template.text_of({"title": None, "body": "two"}) == "# \n\ntwo {end}"
    assert template.text_of({"title": "{body}", "body": "two"}) == "# {body}\n\ntwo {end}"
    assert template.text_of({"title": " ", "body": None}) == ""
    assert template.text_of({"title": None, "body": None}).reason == "missing_text"
    assert template.text_of({"title": "One"}).reason == "missing_text"
    assert template.text_of({"title": 1, "body": "two"}).reason == "text_not_string"


def test_several_text_columns_are_joined_by_a_blank_line():
    template = template_of(TextSettings(text_column=("title", "body")))
    assert template.text_of({"title": "One", "body": "two"}) == "One\n\ntwo"
    assert template.text_of({"title": None, "body": "two"}) == "two"
    missing = template.text_of({"titel": "One", "body": "two"})
    assert missing.reason == "missing_text" and "'title'; the columns are titel, body" in missing.detail


def test_the_first_column_with_a_text_counts():
    template = made("first:text, content")
    assert template.columns == ("text", "content")
    assert template.shapes == (("text",), ("content",))
    assert template.text_of({"text": "one", "content": "two"}) == "one"
    assert template.text_of({"text": " ", "content": "two"}) == "two"
    assert template.text_of({"text": None, "content": "two"}) == "two"
    assert template.text_of({"text": 1, "content": "two"}).reason == "text_not_string"
    assert template.text_of({"text": " ", "content": None}).reason == "empty_text"
    missing = template.text_of({"body": "three"})
    assert missing.reason == "missing_text" and "text, content; the columns are body" in missing.detail
    assert made("first:content,text").identity != template.identity


def test_one_template_reads_chats_and_columns():
    template = made("chat,first:content,body")
    assert template.columns[-2:] == ("content", "body") and ("messages",) in template.shapes
    assert template.text_of({"messages": TALK[1:], "content": "no"}) == (
        "User: Name a planet.\n\nAssistant: Mars."
    )
    assert template.text_of({"prompt": "One?", "response": "two"}) == "User: One?\n\nAssistant: two"
    assert template.text_of({"messages": None, "content": "one"}) == "one"
    assert template.text_of({"prompt": "One?", "body": "two"}) == "two"
    # every named template reads text; here the columns that are named come before it
    assert template.text_of({"text": "three"}) == "three"
    assert template.text_of({"text": "three", "content": "one"}) == "one"
    # a record that fits the template counts as it, for better or worse
    assert template.text_of({"messages": 1, "content": "one"}).reason == "not_messages"
    nothing = template.text_of({"title": "One", "url": "two"})
    assert nothing.reason == "missing_text" and nothing.detail.endswith("body; the columns are title, url")
    assert made("chat,first:content").identity != made("chat,first:body").identity
    assert made("instruction,first:content").text_of({"prompt": "One?", "response": "two"}) == "One?\n\ntwo"


def test_one_column_needs_no_template():
    assert template_of(TextSettings()) is None
    assert template_of(TextSettings(text_column="body")) is None


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("chta", "did you mean 'chat'"),
        ("chta,first:text", "did you mean 'chat,first:text'"),
        ("frist:text,content", "did you mean 'first:text,content'"),
        ("modell:m", "did you mean 'model:m'"),
        ("chat,text", "chat,first:text,content"),
        ("chat,first:", "first:text,content"),
        ("title", "chat, instruction"),
        ("{title", "brace"),
        ("title}", "brace"),
        ("{}", "{name}"),
        ("{0!r}", "{name}"),
        ("{title:>9999999999}", "{name}"),
        ("{{title}}", "contains no column"),
        ("first:", "first:text,content"),
        ("first:text,,content", "first:text,content"),
        ("first:text,text", "different"),
    ],
)
def test_what_is_no_template_is_refused(template, said):
    with pytest.raises(InputError, match=said):
        made(template)


@pytest.mark.parametrize(
    "given",
    [
        {"text_column": ()},
        {"text_column": ("",)},
        {"text_column": ("a", "a")},
        {"template": "chat", "text_column": "a"},
    ],
)
def test_columns_that_cannot_be_are_refused(given):
    with pytest.raises(InputError):
        TextSettings(**given)


def test_flags_can_be_pasted():
    assert TextSettings().flags() == ""
    assert TextSettings(text_column=("a", "b c")).flags() == " --text-column a --text-column 'b c'"
    assert TextSettings(template=r"{a}\n{b}").flags() == r" --template '{a}\n{b}'"


def test_attributes_and_items_of_a_column_are_names_and_no_access():
    assert parsed("{a.__class__}").columns == ("a.__class__",)
    assert parsed("{a[0]}").text_of({"a[0]": "x"}) == "x"


TEMPLATES = [
    Chat(),
    made("instruction"),
    made("{prompt} {messages}"),
    made("first:prompt,messages,response"),
    template_of(TextSettings(text_column=("prompt", "messages"))),
]
_texts = st.text("ab é\n{}", max_size=4)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _texts
_names = st.sampled_from([*CONVERSATIONS, *dict.fromkeys(n for pair in PAIRS for n in pair if n)])
_keys = st.sampled_from(["role", "content", "from", "value", "x"])
_roles = st.sampled_from(["user", "gpt", "system", "other"]) | _scalars
_messages = st.lists(
    st.dictionaries(_keys, _scalars | _roles, max_size=4)
    | st.fixed_dictionaries({"role": _roles, "content": _texts}),
    max_size=4,
)


@given(st.dictionaries(_names, _messages | _scalars, max_size=5))
def test_every_record_becomes_text_or_a_reject_with_a_reason(record):
    for template in TEMPLATES:
        found = template.text_of(record)
        assert pickle.loads(pickle.dumps(template)) == template
        if isinstance(found, Refusal):
            assert found.reason in REASONS and found.detail
        else:
            assert isinstance(found, str)
            assert found == found.strip()
