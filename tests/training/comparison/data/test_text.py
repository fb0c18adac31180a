"""Choosing text: documents stay whole, orders follow from hashes, supplies are met."""

import gzip
import json

import numpy as np
import pytest

from dmix.training.comparison.data.text import (
    CorpusText,
    corpus_files,
    document_of,
    in_hash_order,
    read_corpus,
    records_of,
    split_supply,
)
from dmix.warehouse_schema.errors import InputError, NotFoundError


def test_parts_of_a_document_share_its_name_and_plain_numbers_are_no_parts():
    assert document_of("books-0123456789ab-0") == "books-0123456789ab"
    assert document_of("facts-0123456789ab-12-64e5f6") == "facts-0123456789ab"
    assert document_of("gsm8k_test-00012") == "gsm8k_test-00012"


def test_parts_of_a_document_stay_together_in_hash_order():
    records = [{"id": f"b-{number:012x}-{part}"} for part in range(3) for number in range(5)]
    ordered = [document_of(r["id"]) for r in in_hash_order(records, seed=0, of=document_of)]
    assert [ordered[i] for i in range(0, 15, 3)] == list(dict.fromkeys(ordered))


def test_another_seed_gives_another_order():
    records = [{"id": str(number)} for number in range(20)]
    assert in_hash_order(records, seed=0, of=str) != in_hash_order(records, seed=1, of=str)
    assert in_hash_order(records, seed=0, of=str) == in_hash_order(records[::-1], seed=0, of=str)


def test_supply_is_shared_by_size_and_what_is_short_goes_to_the_others():
    sizes = {"a": 100.0, "b": 400.0, "small": 50.0, "pool": 300.0}
    given = split_supply(sizes, total=500, fixed={"pool": 30}, exponent=0)
    # 470 for three: 156.7 each; small and a give all they have, b the rest
    assert given == {"pool": 30, "small": 50, "a": 100, "b": 320}


def test_exponent_one_keeps_natural_shares():
    given = split_supply({"a": 100.0, "b": 300.0}, total=200, fixed={}, exponent=1)
    assert given == {"a": 50, "b": 150}


@pytest.mark.parametrize(
    ("total", "fixed", "message"),
    [
        (500, {}, "the field has 400 tokens, but the setting needs 500"),
        (200, {"a": 101}, "a has 100 tokens"),
    ],
)
def test_too_little_text_is_refused(total, fixed, message):
    with pytest.raises(InputError, match=message):
        split_supply({"a": 100.0, "b": 300.0}, total=total, fixed=fixed, exponent=1)


def test_first_takes_the_records_nearest_to_a_number_of_tokens_and_at_least_one():
    corpus = CorpusText("c", "source", [{"id": str(i)} for i in range(4)], np.array([10.0, 10, 10, 10]))
    assert [len(corpus.first(tokens)) for tokens in (1, 24, 26, 1000)] == [1, 2, 3, 4]


def test_records_are_read_plain_and_gzipped_and_get_an_id(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n\n{"text": "y", "id": "own"}\n')
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "z"}) + "\n")
    assert [r["id"] for r in records_of(tmp_path / "a.jsonl")] == ["a-1", "own"]
    assert [r["id"] for r in records_of(tmp_path / "b.jsonl.gz")] == ["b-1"]
    assert read_corpus(tmp_path / "b.jsonl.gz", field="source", seed=0) == [
        {"field": "source", "origin": "b", "id": "b-1", "text": "z"}
    ]


def test_a_broken_line_is_named(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "x"}\n[1]\n')
    with pytest.raises(InputError, match=r"a\.jsonl line 2 is a list"):
        list(records_of(tmp_path / "a.jsonl"))


def test_files_that_share_a_stem_and_globs_without_a_file_are_refused(tmp_path):
    (tmp_path / "a.jsonl").touch()
    (tmp_path / "a.jsonl.gz").touch()
    with pytest.raises(InputError, match="have the name 'a'"):
        corpus_files(tmp_path, ["*"])
    with pytest.raises(NotFoundError, match="no file matches"):
        corpus_files(tmp_path, ["b*"])
