"""An engine is used where it gives the ids of the reference, and the reference where it fails."""

import json
import logging

import numpy as np
import pytest

from dmix.etl.text import token_engines
from dmix.etl.text.token_engines import (
    choose_engine,
    encoder_json,
    probe_texts,
    special_tokens,
    tokenizers_engine,
    unknown_token,
    with_fallback,
)
from dmix.warehouse_schema.errors import InputError

DOCUMENT = {
    "added_tokens": [
        {"id": 0, "content": "<eot>", "special": True},
        {"id": 9, "content": "   ", "special": False},
    ],
    "truncation": {"max_length": 3},
    "post_processor": {"type": "x"},
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 1, "a": 2, "b": 3}, "unk_token": "[UNK]"},
}


class PanicException(BaseException):
    pass


def engine(ids):
    """One id for each text."""
    return lambda texts: (np.array([ids] * len(texts), np.uint32), np.ones(len(texts), np.int64))


def failing(error, *, on):
    def encode(texts):
        if on in texts:
            raise error
        return engine(5)(texts)

    return encode


def test_special_tokens_are_those_marked_so():
    assert special_tokens(DOCUMENT) == {"<eot>"} and special_tokens({}) == set()


def test_the_unknown_token_by_the_form_of_the_model():
    assert unknown_token(DOCUMENT) == "[UNK]"
    unigram = {"model": {"vocab": [["<unk>", 0.0], ["a", -1.0]], "unk_id": 0}}
    assert unknown_token(unigram) == "<unk>"
    assert unknown_token({"model": {"vocab": [["a", 0.0]]}}) is None and unknown_token({}) is None


def test_the_encoder_keeps_ordinary_added_tokens_and_cuts_nothing():
    encoder = json.loads(encoder_json(DOCUMENT, {"<eot>"}))
    assert [token["content"] for token in encoder["added_tokens"]] == ["   "]
    assert encoder["truncation"] is encoder["post_processor"] is encoder["padding"] is None
    assert DOCUMENT["truncation"] == {"max_length": 3}


def test_a_special_piece_of_unigram_becomes_one_that_no_text_holds():
    pieces = {"model": {"vocab": [["<eot>", 0.0], ["a", -1.0]], "unk_id": 1}}
    (special, _), (other, _) = json.loads(encoder_json(pieces, {"<eot>"}))["model"]["vocab"]
    assert other == "a" and "<eot>" not in special


def test_probes_hold_every_literal_alone_and_inside_of_text():
    texts = probe_texts(["<eot>"])
    assert "<eot>" in texts and "a<eot>b" in texts and "" in texts


@pytest.fixture
def encoder():
    return encoder_json(
        DOCUMENT | {"added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}}, {"<eot>"}
    )


def choose(monkeypatch, encoder, **engines):
    for name, encode in engines.items():
        monkeypatch.setattr(token_engines, f"{name}_engine", lambda _, encode=encode: encode)
    return choose_engine("mine", encoder, specials={0: "<eot>"})


def test_the_first_engine_that_agrees_is_taken(monkeypatch, encoder, caplog):
    reference = tokenizers_engine(encoder)
    assert choose(monkeypatch, encoder, gigatoken=reference)[0] == "gigatoken"
    with caplog.at_level(logging.INFO):
        name, _ = choose(monkeypatch, encoder, gigatoken=engine(1), fastokens=reference)
    assert name == "fastokens" and "gigatoken and tokenizers differ" in caplog.text


def test_without_a_fast_engine_the_reference_runs_and_a_line_says_why(monkeypatch, encoder, caplog):
    panics = failing(PanicException("boom"), on="")
    name, encode = choose(monkeypatch, encoder, gigatoken=panics, fastokens=engine(1))
    assert name == "tokenizers" and "gigatoken cannot run" in caplog.text and "boom" in caplog.text
    assert "fastokens gives other ids" in caplog.text
    assert [part.tolist() for part in encode(["a b", ""])] == [[2, 3], [2, 0]]


def test_a_literal_that_becomes_its_special_token_is_refused(encoder):
    with pytest.raises(InputError, match=r"'mine'.* text 'a' .*special token"):
        choose_engine("mine", encoder, specials={2: "a"})


def test_a_text_that_an_engine_fails_on_goes_to_the_reference_alone(caplog):
    encode = with_fallback(failing(ValueError("no"), on="x"), engine(7), name="n", engine="fast")
    ids, lengths = encode(["a", "x", "b", "x"])
    assert (ids.tolist(), lengths.tolist()) == ([5, 7, 5, 7], [1, 1, 1, 1])
    assert caplog.text.count("cannot encode a text of 1 character (no)") == 1


@pytest.mark.parametrize("error", [MemoryError(), TypeError(), KeyboardInterrupt()])
def test_what_is_no_failure_of_the_engine_is_raised(error):
    encode = with_fallback(failing(error, on="x"), engine(7), name="n", engine="fast")
    with pytest.raises(type(error)):
        encode(["x"])


def test_a_text_that_the_reference_cannot_encode_is_refused():
    model = {"type": "WordLevel", "vocab": {"the": 0}, "unk_token": "absent"}
    encode = tokenizers_engine(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    assert encode(["the"])[0].tolist() == [0]
    with pytest.raises(InputError, match=r"cannot encode a text of 5 characters .*tokenizer\.json"):
        encode(["other"])
