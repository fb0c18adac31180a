"""Shares within fields, in documents and in samples, and how many domains a field really has."""

import math

import pytest

from dmix.etl.shard.start_state import effective_number, start_state, summarise


def test_effective_number_of_equal_weights_is_their_number():
    assert effective_number([0.25] * 4) == pytest.approx(4)


def test_effective_number_ignores_zeros_and_is_zero_for_nothing():
    assert effective_number([1.0, 0.0]) == 1
    assert effective_number([]) == 0
    assert effective_number([0.0]) == 0


def test_effective_number_of_a_half_and_two_quarters_by_hand():
    # entropy = 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2
    assert effective_number([0.5, 0.25, 0.25]) == pytest.approx(2 * math.sqrt(2))


def test_shares_sum_to_one_in_every_field_and_follow_the_counts(published):
    _, _, manifest = published
    shares = start_state(manifest)
    assert len(shares) == 6
    for field in ("source", "target"):
        ours = [share for share in shares if share.field == field]
        assert sum(share.document_weight for share in ours) == pytest.approx(1)
        assert sum(share.sample_weight for share in ours) == pytest.approx(1)
    news = next(share for share in shares if (share.field, share.domain) == ("source", "News"))
    assert news.document_weight == 50 / 57
    total = sum(s.samples for s in manifest.streams if s.field == "source")
    assert news.sample_weight == news.samples / total


def test_active_domains_have_a_sample_and_documents_alone_do_not_count(published):
    _, _, manifest = published
    source, target = summarise(start_state(manifest))
    assert (source.active, target.active) == (2, 1)
    assert target.effective == 1
    assert target.effective_documents > 1
    assert (source.documents, target.documents) == (57, 10)


def test_a_field_without_a_corpus_has_zero_weights(pair, make_dataset):
    shares = start_state(make_dataset(pair[:1]))
    assert [share.sample_weight for share in shares if share.field == "target"] == [0, 0, 0]
    assert summarise(shares)[1].effective == 0
