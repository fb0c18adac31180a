"""Documents to samples: nothing dropped, nothing padded, however the text is cut into calls."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dmix.etl.shard.packing import cut_samples, token_dtype, with_end_of_text

documents = st.lists(st.lists(st.integers(1, 60_000), max_size=9), max_size=20)


def packed(docs, *, dtype="uint16"):
    flat = np.array([token for doc in docs for token in doc], dtype=np.uint32)
    lengths = np.array([len(doc) for doc in docs], dtype=np.int64)
    return with_end_of_text(flat, lengths, eot_id=0, dtype=dtype)


def test_end_of_text_follows_every_document_empty_ones_included():
    tokens = packed([[5, 6], [], [7]])
    assert tokens.tolist() == [5, 6, 0, 0, 7, 0]
    assert tokens.dtype == np.uint16


def test_no_documents_give_no_tokens():
    assert packed([]).tolist() == []


def test_samples_are_cut_in_order_and_the_rest_is_what_fills_no_sample():
    samples, rest = cut_samples(np.array([1, 2]), np.array([3, 4, 5, 6, 7, 8]), seq_len=3)
    assert samples.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert rest.tolist() == [7, 8]


def test_fewer_tokens_than_a_sample_are_all_rest():
    samples, rest = cut_samples(np.array([], dtype=np.uint16), np.array([1, 2], dtype=np.uint16), seq_len=3)
    assert samples.shape == (0, 3)
    assert rest.tolist() == [1, 2]


@given(documents)
def test_end_of_text_placement_equals_a_loop_over_documents(docs):
    assert packed(docs).tolist() == [token for doc in docs for token in [*doc, 0]]


@given(st.lists(documents, max_size=6), st.integers(2, 11))
def test_cutting_in_many_calls_equals_cutting_in_one(batches, seq_len):
    rest, pieces = np.empty(0, dtype=np.uint16), []
    for batch in batches:
        samples, rest = cut_samples(rest, packed(batch), seq_len=seq_len)
        pieces.extend(samples.tolist())
    whole = [token for batch in batches for token in packed(batch).tolist()]
    full = len(whole) // seq_len * seq_len
    assert [token for sample in pieces for token in sample] == whole[:full]
    assert rest.tolist() == whole[full:]
    assert len(rest) < seq_len


def test_ids_are_stored_in_two_bytes_while_they_fit():
    assert [token_dtype(size) for size in (8192, 65_536, 65_537)] == ["uint16", "uint16", "uint32"]
