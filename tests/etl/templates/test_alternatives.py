"""What is tried on a record, and the flag that says so."""

import pytest

from dmix.etl.templates.alternatives import NOTHING, Alternatives
from dmix.etl.templates.settings import TextSettings
from dmix.etl.templates.templates import template_of

TEXT = Alternatives(None, ("text",))


@pytest.mark.parametrize(
    ("found", "flag"),
    [
        (TEXT, "--text-column text"),
        (Alternatives(None, ("a b",)), "--text-column 'a b'"),
        (Alternatives(None, ("text", "body")), "--template first:text,body"),
        (Alternatives("chat"), "--template chat"),
        (Alternatives("model:my models/m", ("body",)), "--template 'model:my models/m,first:body'"),
    ],
)
def test_the_flag_can_be_pasted(found, flag):
    assert found.flag == flag


@pytest.mark.parametrize(
    ("read", "others", "wider"),
    [
        (NOTHING, [["id", "content"]], Alternatives(None, ("content",))),
        (TEXT, [["content"], ["body"], ["content"]], Alternatives(None, ("text", "content", "body"))),
        (TEXT, [["messages"]], Alternatives("chat")),  # which reads text, too
        (TEXT, [["prompt", "response"]], Alternatives("instruction")),
        (TEXT, [["prompt", "response"], ["messages"]], Alternatives("chat")),  # which reads pairs, too
        (TEXT, [["messages"], ["content"]], Alternatives("chat", ("text", "content"))),
        (Alternatives("model:m"), [["messages"], ["body"]], Alternatives("model:m", ("body",))),
        (TEXT, [["other"]], TEXT),
    ],
)
def test_other_records_widen_what_is_read(read, others, wider):
    assert read.wider(others) == wider


@pytest.mark.parametrize("name", ["chat", "first:a,b", "instruction,first:a,text"])
def test_a_template_says_what_it_tries(name):
    assert template_of(TextSettings(template=name)).alternatives.template == name
    assert template_of(TextSettings(template="{a}")).alternatives is None
