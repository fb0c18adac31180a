import pytest

from dmix.etl.publishing.rejects import REASONS
from dmix.etl.templates.conversations import (
    Message,
    Refusal,
    Unreadable,
    conversation_of,
    fitting_template,
    pair_of,
)


def turns(*texts):
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def test_both_spellings_of_messages_give_the_same():
    sharegpt = [{"from": "human", "value": "Hi "}, {"from": "gpt", "value": "Hello."}]
    wanted = [Message("user", "Hi"), Message("assistant", "Hello.")]
    assert conversation_of({"messages": turns("Hi", "Hello.")}) == wanted
    assert conversation_of({"conversations": sharegpt}) == wanted
    assert conversation_of({"messages": None, "conversations": sharegpt}) == wanted
    # Parquet gives every object all keys of its type
    typed = [{**message, "role": None, "content": None} for message in sharegpt]
    assert conversation_of({"messages": typed}) == wanted


def test_an_empty_system_message_is_left_out():
    system = {"role": "system", "content": " "}
    assert conversation_of({"messages": [system, *turns("a")]}) == [Message("user", "a")]


@pytest.mark.parametrize(
    ("record", "reason", "seen"),
    [
        ({}, "missing_text", "messages, conversations"),
        ({"text": "a"}, "missing_text", "columns are text"),
        ({"prompt": "a", "response": "b"}, "missing_text", "columns are prompt, response"),
        ({"messages": None}, "missing_text", "messages"),
        ({"messages": "User: hi"}, "not_messages", "contains text"),
        ({"messages": {"role": "user", "content": "a"}}, "not_messages", "an object"),
        ({"messages": []}, "empty_text", "no message"),
        ({"messages": [{"role": "system", "content": ""}]}, "empty_text", "no message"),
        ({"messages": ["hi"]}, "not_messages", "message 1 of 'messages' is text"),
        ({"messages": [{"content": "a"}]}, "not_messages", "no role; the keys are content"),
        ({"messages": [*turns("a"), {"role": "narrator", "content": "b"}]}, "unknown_role", "message 2"),
        ({"messages": [{"role": 7, "content": "b"}]}, "unknown_role", "a number"),
        ({"messages": [{"role": ["user"], "content": "b"}]}, "unknown_role", "a list"),
        ({"messages": [{"role": "user", "value": "b"}]}, "missing_text", "no content"),
        ({"messages": [{"from": "human", "content": "b"}]}, "missing_text", "no value"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "text_not_string", "a list"),
        ({"messages": [{"role": "user", "content": 5}]}, "text_not_string", "a number"),
        ({"messages": turns("a", "  ")}, "empty_text", "message 2"),
        ({"messages": Unreadable("byte 3")}, "invalid_utf8", "byte 3"),
    ],
)
def test_what_is_no_conversation_is_refused_with_what_was_seen(record, reason, seen):
    refusal = conversation_of(record)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason and reason in REASONS
    assert seen in refusal.detail


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"prompt": "a", "response": "b"}, ("a", "", "b")),
        ({"prompt": "a", "completion": " b"}, ("a", "", "b")),
        ({"instruction": "a", "input": "c", "output": "b"}, ("a", "c", "b")),
        ({"instruction": "a", "input": "", "output": "b"}, ("a", "", "b")),
        ({"instruction": "a", "output": "b"}, ("a", "", "b")),
        ({"instruction": "a", "context": None, "response": "b"}, ("a", "", "b")),
        ({"question": "a", "answer": "b"}, ("a", "", "b")),
        ({"prompt": None, "response": None, "question": "a", "answer": "b"}, ("a", "", "b")),
        ({"prompt": "a", "response": None}, "missing_text"),
        ({"prompt": "a", "response": " "}, "empty_text"),
        ({"question": "a", "answer": ["b"]}, "text_not_string"),
        ({"instruction": "a", "input": 3, "output": "b"}, "text_not_string"),
    ],
)
def test_pairs_under_their_usual_names(record, wanted):
    found = pair_of(record)
    assert (found.reason if isinstance(found, Refusal) else found) == wanted


def test_the_template_that_fits_is_known_by_the_columns():
    assert fitting_template(["id", "messages"]) == fitting_template(["conversations"]) == "chat"
    assert fitting_template(["question", "answer", "id"]) == "instruction"
    assert fitting_template(["question", "id"]) is None
