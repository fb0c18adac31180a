"""What makes a document of a text, and the reason where none can be made."""

import pytest

from dmix.etl.publishing.rejects import REASONS, Reject
from dmix.etl.reading.documents import (
    Columns,
    Document,
    document_id,
    document_or_reject,
    encodes,
    templated_text,
    too_long,
    utf8_size,
)
from dmix.etl.templates.conversations import Refusal
from dmix.etl.templates.settings import TextSettings

PLAIN = Columns(text="text", id=None, others=())
NAMED = Columns(text="text", id="key", others=())


def made_of(text, *, columns=PLAIN, id_value=None, stored=b"stored"):
    return document_or_reject(
        text, path="a", position=3, columns=columns, id_value=id_value, values=(), stored=stored
    )


@pytest.mark.parametrize(
    ("text", "columns", "id_value", "reason"),
    [
        (None, PLAIN, None, "missing_text"),
        ("", PLAIN, None, "empty_text"),
        (" \n", PLAIN, None, "empty_text"),
        (7, PLAIN, None, "text_not_string"),
        (Refusal("too_long", "9 bytes"), PLAIN, None, "too_long"),
        ("a", NAMED, [1], "id_not_text"),
    ],
)
def test_what_is_no_text_or_has_no_id_is_a_reject_with_its_reason(text, columns, id_value, reason):
    found = made_of(text, columns=columns, id_value=id_value)
    assert isinstance(found, Reject) and found.reason == reason in REASONS
    assert (found.path, found.position, found.prefix) == ("a", 3, "stored")


def test_a_document_has_the_bytes_of_its_text_and_its_own_id():
    assert made_of("bä", id_value=7) == Document("7", "bä", 3, "a", 3, ())
    assert made_of("b", columns=NAMED, id_value="k").id == "k"
    assert made_of("b", columns=NAMED).id == document_id(None, "a", 3)


def test_an_id_that_utf8_cannot_express_gives_way_to_a_hash_of_the_place():
    assert document_id("\ud800", "a", 1) == document_id("", "a", 1) == document_id(None, "a", 1)
    assert len({document_id(None, name, place) for name in "ab" for place in (1, 2)}) == 4


def test_a_reject_shows_two_hundred_characters_of_what_is_not_bytes():
    assert made_of(None, stored="x" * 300).prefix == "x" * 200


def test_text_of_a_template_is_bounded_and_encodes():
    columns = Columns.of(TextSettings(template="{title}: {body}"), id="key", others=("origin",))
    assert templated_text({"title": "a", "body": "b"}, columns, 4) == "a: b"
    assert templated_text({"title": "a", "body": "b"}, columns, 3) == too_long(4, 3)
    assert templated_text({"title": "a", "body": "\ud800"}, columns, 9).reason == "invalid_utf8"
    assert templated_text({"title": "a"}, columns, 9).reason == "missing_text"
    assert (columns.texts, columns.required) == (("title", "body"), ("key", "origin"))


def test_columns_that_give_other_documents_have_another_identity():
    template = Columns.of(TextSettings(template="{a}"))
    assert len({str(columns.identity) for columns in (PLAIN, NAMED, template)}) == 3
    assert (PLAIN.id_or_default, NAMED.id_or_default) == ("id", "key")
    assert PLAIN.text_shapes == (("text",),)


@pytest.mark.parametrize(("value", "fine"), [("ä", True), ("\ud800", False), (7, True), (None, True)])
def test_only_text_can_fail_to_encode(value, fine):
    assert encodes(value) is fine


def test_the_size_of_a_text_is_that_of_its_bytes():
    assert [utf8_size(text) for text in ("", "abc", "ä", "\U0001f600")] == [0, 3, 2, 4]
